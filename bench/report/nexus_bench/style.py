"""The page's style sheet: both colour schemes, one column on a phone."""

STYLE = """
:root { color-scheme: light dark; --bg: #f6f7f9; --card: #fff; --ink: #1b2230; --soft: #5d687a; --rule: #dfe3ea;
  --ours: #2563eb; --raw: #7d8798; --peer: #c9b48a; --met: #15803d; --noise: #a16207; --missed: #c02626;
  --good: #15803d12; --bad: #c0262612;
  --l0: #2563eb; --l1: #0e9488; --l2: #7c3aed; --l3: #db2777; --l4: #d97706; --l5: #4d7c0f; --l6: #0891b2;
  --l7: #9f1239; --l8: #6b7280; --l9: #a16207; }
@media (prefers-color-scheme: dark) { :root { --bg: #10141b; --card: #181e28; --ink: #e7ebf2; --soft: #9aa6b8;
  --rule: #2b3442; --ours: #60a5fa; --raw: #8a94a6; --peer: #8f7c52; --met: #4ade80; --noise: #facc15;
  --missed: #f87171; --good: #4ade8014; --bad: #f8717116;
  --l0: #60a5fa; --l1: #2dd4bf; --l2: #a78bfa; --l3: #f472b6; --l4: #fbbf24;
  --l5: #a3e635; --l6: #22d3ee; --l7: #fb7185; --l8: #9ca3af; --l9: #eab308; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 28px; margin: 0 0 8px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 40px 0 4px; }
h3 { font-size: 15px; margin: 0; }
.facts, .hint, .unit, footer { color: var(--soft); font-size: 13px; margin: 2px 0; }
.hint { margin-bottom: 14px; }
.look { color: var(--noise); font-weight: 600; margin: 8px 0 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin-top: 18px; }
.tile { background: var(--card); border: 1px solid var(--rule); border-left: 5px solid var(--soft); border-radius: 8px;
  padding: 8px 18px 8px 14px; min-width: 112px; }
.tile b { display: block; font-size: 28px; line-height: 1.15; font-variant-numeric: tabular-nums; }
.tile span { font-size: 13px; color: var(--soft); }
.tile.met { border-left-color: var(--met); } .tile.within-noise { border-left-color: var(--noise); }
.tile.missed, .tile.failed { border-left-color: var(--missed); }
.glance, .card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 18px; }
.row { display: grid; grid-template-columns: minmax(230px, 5fr) minmax(160px, 6fr) 222px; column-gap: 16px;
  align-items: center; grid-auto-flow: row dense; }
.glance .what { grid-column: 1; } .glance .strip { grid-column: 2; } .glance .says { grid-column: 3; }
.says { display: flex; justify-content: space-between; gap: 10px; font-size: 13px; font-variant-numeric: tabular-nums; }
.says small { color: var(--soft); }
.glance h3 { color: var(--soft); font-size: 12px; text-transform: uppercase; letter-spacing: .06em;
  padding-top: 10px; border-top: 1px solid var(--rule); margin-top: 8px; }
.glance .what { font-size: 14px; line-height: 1.25; padding: 3px 0; } .what small { color: var(--soft); }
.ends { grid-column: 2; display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; }
.strip { align-self: stretch; display: flex; align-items: center; background:
  linear-gradient(var(--soft), var(--soft)) 50% 0 / 1px 100% no-repeat,
  linear-gradient(90deg, var(--good) 0 50%, var(--bad) 50% 100%); }
.strip svg { display: block; }
.reach { stroke: currentColor; stroke-width: 3; stroke-opacity: .45; stroke-linecap: round; }
.dot, .far { fill: currentColor; } .far { font-size: 14px; }
.met { color: var(--met); } .within-noise { color: var(--noise); } .missed, .failed { color: var(--missed); }
.skipped, .not-judged { color: var(--soft); }
.tile b { color: var(--ink); }
.badge { font-size: 13px; font-weight: 600; white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 14px; }
.bars { display: grid; grid-template-columns: minmax(84px, auto) 1fr 58px; gap: 1px 10px; align-items: center;
  margin-top: 8px; font-size: 13px; }
.bars .name { overflow-wrap: anywhere; line-height: 1.2; max-width: 170px; }
.bars .value { text-align: right; font-variant-numeric: tabular-nums; }
.bars svg { display: block; }
.bar.ours, .key.ours { fill: var(--ours); background: var(--ours); }
.bar.raw, .key.raw { fill: var(--raw); background: var(--raw); }
.bar.peer, .key.peer { fill: var(--peer); background: var(--peer); }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin: 0 3px 0 10px; }
.key:first-child { margin-left: 0; }
.whisker { stroke: var(--ink); stroke-width: 1.3; stroke-opacity: .75; }
.chart { width: 100%; height: auto; display: block; margin-top: 8px; }
.grid { stroke: var(--rule); } .tick { fill: var(--soft); font-size: 12px; }
.line { fill: none; stroke-width: 2.4; stroke-linejoin: round; } .line.raw { stroke-dasharray: 7 4; }
.line.peer { stroke-width: 1.6; stroke-dasharray: 2 3; }
.c0 { stroke: var(--l0); } .c1 { stroke: var(--l1); } .c2 { stroke: var(--l2); } .c3 { stroke: var(--l3); }
.c4 { stroke: var(--l4); } .c5 { stroke: var(--l5); } .c6 { stroke: var(--l6); } .c7 { stroke: var(--l7); }
.c8 { stroke: var(--l8); } .c9 { stroke: var(--l9); }
.point { fill: var(--card); stroke-width: 2; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 12px; color: var(--soft); margin: 6px 0 0; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--rule);
  border-radius: 10px; margin-top: 10px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: 6px 12px; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } tr:last-child td { border-bottom: 0; }
td.n { white-space: nowrap; font-variant-numeric: tabular-nums; }
.note { color: var(--soft); font-size: 12px; }
footer { margin-top: 40px; }
@media (max-width: 640px) { main { padding: 18px 12px 40px; } .cards { grid-template-columns: 1fr; }
  .glance { padding: 12px; } .row { grid-template-columns: 1fr auto; column-gap: 10px; }
  .glance .what { grid-column: 1; } .glance .says { grid-column: 2; display: block; text-align: right;
  line-height: 1.25; }
  .says span { display: block; } .glance .strip, .glance .ends { grid-column: 1 / -1; }
  .glance .strip { margin-bottom: 8px; } }
"""
