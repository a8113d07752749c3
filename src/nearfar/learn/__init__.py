"""The training wing: data, encoders, losses, methods, the loop, export. torch lives here and nowhere else."""
