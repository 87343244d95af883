"""The table as text and as CSV, and a plot where python3-matplotlib or gnuplot is there."""

import csv
import shutil
import subprocess


def _columns(row):
    spread = f"{min(row.values):.3g} to {max(row.values):.3g}" if len(row.values) > 1 else ""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f} x {row.against}"
    target = "" if row.target is None else ("at least " if row.at_least else "at most ") + f"{row.target:g}"
    return [row.name, f"{row.value:.3g} {row.unit}", spread, "" if row.cpu is None else f"{row.cpu:.2f}", ratio, target,
            row.verdict]


def table(rows, notes):
    head = ["", "median", "from to", "CPU s", "ratio", "target", ""]
    lines, cells = [], [_columns(r) for r in rows]
    widths = [max(len(c[i]) for c in [head, *cells]) for i in range(len(head))]

    def line(columns):
        return "  ".join(c.ljust(w) for c, w in zip(columns, widths)).rstrip()
    case = None
    for row, columns in zip(rows, cells):
        if row.case != case:
            case = row.case
            lines += ["", f"== {case}", line(head)]
        lines.append(line(columns))
    return "\n".join([*(f"# {n}" for n in notes), *lines]) + "\n"


def _plot(rows, path):
    """The cases measured in seconds, one bar for each who took part."""
    bars = [r for r in rows if r.ratio is None and r.unit == "s" and r.case.startswith("HTTPS")]
    if not bars:
        return None
    names = [f"{r.name}, {r.case.split(' to ')[0]}" if len({b.case for b in bars}) > 1 else r.name for r in bars]
    try:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return _gnuplot(bars, names, path)
    figure, axes = pyplot.subplots(figsize=(9, 0.5 + 0.42 * len(bars)))
    colours = ["tab:orange" if r.name.startswith("otad") else "tab:blue" for r in bars]
    axes.barh(range(len(bars)), [r.value for r in bars], color=colours,
              xerr=[[r.value - min(r.values) for r in bars], [max(r.values) - r.value for r in bars]])
    axes.set_yticks(range(len(bars)), names)
    axes.invert_yaxis()
    axes.set_xlabel("seconds (median; the line is from fastest to slowest)")
    axes.set_title(bars[0].case if len({b.case for b in bars}) == 1 else "HTTPS to a slot")
    figure.tight_layout()
    figure.savefig(path)
    return path


def _gnuplot(bars, names, path):
    if not shutil.which("gnuplot"):
        return None
    data = "\n".join(f'"{n}" {r.value}' for n, r in zip(names, bars))
    script = (f'set terminal pngcairo size 900,500\nset output "{path}"\nset style data histogram\nset style fill solid\n'
              f'set ylabel "seconds (median)"\nset yrange [0:*]\nset xtics rotate by -30\nset key off\n'
              f'$data << END\n{data}\nEND\nplot $data using 2:xtic(1)\n')
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    return path


def write(rows, notes, folder):
    folder.mkdir(parents=True, exist_ok=True)
    text = table(rows, notes)
    (folder / "table.txt").write_text(text)
    with open(folder / "table.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["case", "name", "median", "unit", "values", "cpu_seconds", "ratio", "against", "target", "verdict"])
        for r in rows:
            out.writerow([r.case, r.name, r.value, r.unit, " ".join(f"{v:.6g}" for v in r.values), r.cpu, r.ratio, r.against,
                          r.target, r.verdict])
    plot = _plot(rows, folder / "https.png")
    print(f"\n{text}\nwritten to {folder}/table.txt and table.csv" + (f", the plot to {plot}" if plot else
                                                                     "; no plot (python3-matplotlib, or gnuplot)"))
