"""Colours and layout of the page of a replay."""

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1c2430",
    "faint": "#6b7685",
    "rule": "#e3e7ec",
    "line": "#2f6db3",
    "score": "#1c2430",
    "alarm": "#d1343f",
    "label": "#e09a1a",
    "healthy": "#dcebdf",
    "out": "#8a94a3",
}
"""Of a page on white, and of pictures."""

DARK = {
    "paper": "#12161c",
    "ink": "#e7ebf0",
    "faint": "#93a0b0",
    "rule": "#262d37",
    "line": "#6ba6e8",
    "score": "#e7ebf0",
    "alarm": "#ff6b72",
    "label": "#f0b23c",
    "healthy": "#1d2f26",
    "out": "#707c8c",
}
"""The same for eyes that prefer a dark page."""


def _variables(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


CSS = f"""
:root{{{_variables(LIGHT)};color-scheme:light dark}}
@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;padding:28px 24px 48px;max-width:1280px;background:var(--paper);color:var(--ink);
 font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}}
h1{{font-size:22px;font-weight:650;margin:0}}
h2{{font-size:17px;font-weight:650;margin:36px 0 0}}
.sub{{color:var(--faint);margin:2px 0 16px}}
.tiles{{display:flex;flex-wrap:wrap;gap:10px 36px;margin:0 0 14px}}
.tile b{{display:block;font-size:20px;font-weight:600;line-height:1.25}}
.tile span{{color:var(--faint);font-size:12.5px}}
svg{{display:block;width:100%;height:auto;overflow:visible}}
svg text{{fill:var(--faint);font-size:11.5px}}
svg .name{{fill:var(--ink);font-size:13px;font-weight:600}}
.rule{{stroke:var(--rule);stroke-width:1}}
.grid{{stroke:var(--rule);stroke-width:1;stroke-dasharray:2 3}}
.line{{fill:none;stroke:var(--line);stroke-width:1.1;stroke-linejoin:round}}
.score{{fill:none;stroke:var(--score);stroke-width:1.1;stroke-linejoin:round}}
.threshold{{stroke:var(--alarm);stroke-width:1.2;stroke-dasharray:5 4}}
svg .threshold-name{{fill:var(--alarm)}}
.healthy{{fill:var(--healthy)}}
.alarm{{fill:var(--alarm)}}
.shade{{fill:var(--alarm);opacity:.10}}
.settled{{fill:var(--alarm);opacity:.35}}
.label{{fill:var(--label)}}
.edge{{stroke:var(--label);stroke-width:1;stroke-dasharray:3 3;opacity:.9}}
.out{{fill:var(--out);opacity:.25}}
.cross{{stroke:var(--faint);stroke-width:1;visibility:hidden}}
.legend{{display:flex;flex-wrap:wrap;gap:4px 22px;color:var(--faint);font-size:12.5px;margin:10px 0 0}}
.legend i{{display:inline-block;width:14px;height:10px;margin-right:6px;border-radius:2px;vertical-align:-1px}}
.legend .alarm,.legend .settled{{background:var(--alarm)}}
.legend .label{{background:var(--label)}}
.legend .healthy{{background:var(--healthy)}}
.legend .out{{background:var(--out);opacity:1}}
table{{border-collapse:collapse;margin:22px 0 0;width:100%}}
th{{text-align:left;font-weight:500;color:var(--faint);font-size:12.5px;padding:4px 18px 4px 0;border-bottom:1px solid var(--rule)}}
td{{padding:5px 18px 5px 0;border-bottom:1px solid var(--rule);vertical-align:top}}
#tip{{position:fixed;pointer-events:none;display:none;background:var(--paper);border:1px solid var(--rule);border-radius:6px;
 padding:7px 10px;font-size:12.5px;box-shadow:0 3px 14px rgb(0 0 0/.14);white-space:pre;z-index:2}}
@media print{{body{{max-width:none}}}}
"""

SCRIPT = """
const tip=document.getElementById("tip");
for(const svg of document.querySelectorAll("svg[data-plot]")){
 const plot=JSON.parse(document.getElementById(svg.dataset.plot).textContent),cross=svg.querySelector(".cross");
 svg.addEventListener("mousemove",event=>{
  const box=svg.getBoundingClientRect(),x=(event.clientX-box.left)*plot.width/box.width;
  const column=Math.floor((x-plot.left)/plot.columns*plot.count);
  if(column<0||column>=plot.count){tip.style.display=cross.style.visibility="";return}
  cross.setAttribute("x1",x);cross.setAttribute("x2",x);cross.style.visibility="visible";
  const time=plot.from+(column+.5)*plot.step;
  const when=plot.clock?new Date(time*1000).toISOString().slice(0,19).replace("T"," "):new Date(time*1000).toISOString().slice(11,19);
  tip.textContent=when+plot.series.filter(one=>one.values[column]!==null).map(one=>"\\n"+one.name+"  "+one.values[column]).join("");
  tip.style.display="block";
  tip.style.left=Math.min(event.clientX+14,innerWidth-tip.offsetWidth-8)+"px";tip.style.top=(event.clientY+14)+"px";
 });
 svg.addEventListener("mouseleave",()=>{tip.style.display=cross.style.visibility=""});
}
"""
