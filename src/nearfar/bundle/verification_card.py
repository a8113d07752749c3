"""What the card of a bundle that tells identities apart says that no other bundle's does."""

from __future__ import annotations

from nearfar.bundle.block import Metric
from nearfar.bundle.manifest import Manifest
from nearfar.bundle.verification_rows import share, verification_rows

FIGURES = {
    "eer": "equal error rate: where as many strangers pass as right ones are turned away, over all thresholds",
    "fmr100": "share of right ones turned away (FNMR) at the threshold that lets 1 % of the strangers pass",
    "fmr1000": "the same at 0.1 %",
    "fmr10000": "the same at 0.01 %; empty where there are too few trials to see it",
    "fmr": "share of strangers that pass at the threshold of this bundle",
    "fnmr": "share of right ones turned away at it",
    "eer_same_session": "equal error rate where a sample and its template are of one session: easier than life",
    "eer_other_session": "the same across sessions",
    "one_shot_20": "share told right among 20 identities that one sample each is known of",
    "one_shot_5": "share told right among 5 identities that one sample each is known of",
}
"""What was measured -> what it means, in reading order."""

ATTACKS = {
    "threshold": "least cosine of a match that all this was measured at",
    "unlinkability": "D_sys of templates of the same samples with different keys: 0 says nothing, 1 links them surely",
    "unlinkability_null": "what it is by chance, templates shuffled",
    "unlinkability_null_95": "the 95th percentile of that: what is below it is no evidence of a link",
    "unlinkability_one_key": "what it is if all templates had one key: the measure sees links where there are any",
    "stolen_key_eer": "equal error rate of impostors who have the victim's key",
    "own_key_eer": "the same if they had only keys of their own; it says more of keys than of people",
    "inversion_cosine": "mean cosine of an embedding and what a thief with template and key makes of it",
    "inversion_rematch": "share of these that pass where embeddings are compared as they are",
    "inversion_after_renewal": "share of these that pass the renewed template if they are fed in behind the sensor",
    "stolen_template_after_renewal": "share of stolen templates that pass the renewed one as they are",
    "pgd_eps": "largest change of a pixel or sample in the attack by gradients",
    "pgd_success": "share of such samples of others that pass as the victim",
    "pgd_success_model": "the same on the float model, whose gradients the attacker has",
    "pgd_success_noise": "what changes of the same size by chance do",
    "pgd_evasion": "share of the right ones that are turned away after such a change",
    "pgd_evasion_model": "the same on the float model",
    "pgd_evasion_noise": "what changes of the same size by chance do",
    "fnmr_snr_20": "share of right ones turned away with noise at 20 dB below the sound",
    "fnmr_snr_10": "the same at 10 dB",
    "fnmr_snr_0": "the same with noise as loud as the sound",
    "fnmr_noise_05": "share of right ones turned away with noise of deviation 0.05 on pixels in [0, 1]",
    "fnmr_noise_10": "the same at 0.1",
    "fnmr_noise_20": "the same at 0.2",
    "attribute_accuracy": "share of strangers whose attribute a linear probe reads from embeddings",
    "attribute_base": "what always saying the most frequent value gets right",
    "fmr_group_max_ratio": "largest false match rate of a group over the geometric mean of all: 1 is fair",
    "fnmr_group_max_ratio": "the same of false non-match rates",
}
"""What was attacked -> what it means, in reading order."""

LIMITS = """## Limits and intended use

- Meant for samples like those it was trained on. On other people, microphones, cameras or rooms, run `nearfar calibrate` first.
- It compares samples; it does not know whether a living person stands before the sensor. A recording, a photo or a made voice that is
  near enough passes. Use it only together with something that the person has or knows.
- A sealed template keeps who steals the disk from learning anything. It does not keep out who has the key too: with both, an embedding
  near to that of the person can be made (see the attacks), and renewal does not undo that.
- An old copy of a whole vault cannot be told from the present without a witness elsewhere.
- Error rates differ between groups of people, also where no attribute was there to show it. Do not let it alone decide about people.
- Nothing here was tested by a laboratory: it is no claim of conformance to NIST SP 800-63B, ISO/IEC 30107 or FIDO."""


def is_attack(row: str) -> bool:
    """Whether a row of metrics is of the attack report, not of how well it works."""
    return row == "attacks" or row.startswith("group ")


def verification(manifest: Manifest) -> list[str]:
    """The sections on threshold and attacks; none where the bundle tells no identities apart."""
    record = manifest.verification
    if record is None:
        return []
    rows = "\n".join(f"| {name} | {value} |" for name, value in verification_rows(record))
    text = f"## Who is it\n\n| | |\n|---|---|\n{rows}"
    if record.seen:
        text += (
            "\n\n**The encoder was trained on these very identities.** All figures are of people that it knows: they say nothing of "
            "anybody else, who must not be enrolled without measuring again."
        )
    if record.threshold is None:
        text += (
            f"\n\nThere were too few trials to show a false match rate of {share(record.fmr)}, so no threshold ships. "
            "`nearfar calibrate` sets one by samples of your own people, and says how many it takes."
        )
    return [text, *_attacks(manifest)]


def _attacks(manifest: Manifest) -> list[str]:
    attacks = manifest.metrics.get("attacks", {})
    if not attacks:
        return []
    rows = "\n".join(
        f"| `{name}` | {_figure(attacks[name])} | {ATTACKS[name]} |" for name in ATTACKS if name in attacks
    )
    text = (
        f"## Attacks\n\nOn held-out identities, by the bundle as it runs on a device.\n\n| | | |\n|---|---|---|\n{rows}"
    )
    groups = {row.removeprefix("group "): of for row, of in manifest.metrics.items() if row.startswith("group ")}
    if groups:
        lines = "\n".join(
            f"| {name.replace('|', ' ')} | {of['identities'].value:.0f} | {_figure(of['fmr'])} | {_figure(of['fnmr'])} |"
            for name, of in groups.items()
        )
        text += (
            "\n\nBy group, at the one threshold for all; strangers are of the same group; intervals are exact, as if trials were "
            f"independent.\n\n| group | identities | FMR | FNMR |\n|---|---|---|---|\n{lines}"
        )
    return [text]


def _figure(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3g}"
    return f"{metric.value:.3g} [{metric.low:.3g}, {metric.high:.3g}]"
