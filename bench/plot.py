"""Line charts as SVG, self-contained: axes with units, a line and a name for each series."""
import math
from html import escape

WIDTH, HEIGHT = 720, 430
LEFT, RIGHT, TOP, BOTTOM = 78, 172, 52, 60  # around the plot
COLOURS = ("#1b6ca8", "#c8553d", "#4f7d3a", "#8a5aa8", "#b8860b")
REFERENCE_COLOUR = "#7a7a7a"
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"
NAME_APART = 17  # between the names at the lines' ends


class Axis:
    """Where a value is between 0 and 1, and the values that are written beside it. BASE 0 is
    linear, else the base of its logarithm."""

    def __init__(self, label, low, high, base=0):
        self.label, self.base = label, base
        if base:
            self.low = base ** math.floor(math.log(low, base) + 1e-9)
            self.high = base ** math.ceil(math.log(high, base) - 1e-9)
            if self.high == self.low:
                self.high *= base
        else:
            self.step = self.nice((high - low) / 6 or 1)
            self.low = math.floor(low / self.step) * self.step
            self.high = math.ceil(high / self.step) * self.step

    @staticmethod
    def nice(step):
        """1, 2 or 5 times a power of ten, at least STEP."""
        power = 10 ** math.floor(math.log10(step))
        return next(n * power for n in (1, 2, 5, 10) if n * power >= step * 0.999)

    def at(self, value):
        if self.base:
            value = min(max(value, self.low), self.high)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    def ticks(self):
        if self.base:
            count = round(math.log(self.high / self.low, self.base))
            return [self.low * self.base ** n for n in range(count + 1)]
        count = round((self.high - self.low) / self.step)
        return [self.low + n * self.step for n in range(count + 1)]


def number(value):
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"


def text(x, y, said, anchor="middle", size=12, colour="#333", more=""):
    return (f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' "
            f"fill='{colour}' {FONT} {more}>{escape(said)}</text>")


def names_apart(ends):
    """Heights for the names at HEIGHTS, none on another."""
    placed = []
    for y in sorted(ends):
        placed.append(max(y, placed[-1] + NAME_APART) if placed else y)
    over = placed[-1] - (HEIGHT - BOTTOM) if placed else 0
    return [y - max(0, over) for y in placed]


def chart(title, x_axis, y_axis, series, dots=True):
    """SERIES: name → [(x, y)]."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(value):
        return LEFT + width * x_axis.at(value)

    def y_of(value):
        return TOP + height * (1 - y_axis.at(value))

    out = [f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' "
           f"width='{WIDTH}' height='{HEIGHT}' role='img' aria-label='{escape(title, True)}'>",
           f"<rect width='{WIDTH}' height='{HEIGHT}' fill='#ffffff'/>",
           text(LEFT, 28, title, "start", 15, "#111", "font-weight='bold'")]
    for tick in x_axis.ticks():
        x = x_of(tick)
        out.append(f"<line x1='{x:.1f}' y1='{TOP}' x2='{x:.1f}' y2='{TOP + height}' "
                   "stroke='#e6e6e6'/>")
        out.append(text(x, TOP + height + 20, number(tick)))
    for tick in y_axis.ticks():
        y = y_of(tick)
        out.append(f"<line x1='{LEFT}' y1='{y:.1f}' x2='{LEFT + width}' y2='{y:.1f}' "
                   "stroke='#e6e6e6'/>")
        out.append(text(LEFT - 8, y + 4, number(tick), "end"))
    out.append(f"<path d='M{LEFT} {TOP}V{TOP + height}H{LEFT + width}' fill='none' stroke='#555'/>")
    out.append(text(LEFT + width / 2, HEIGHT - 16, x_axis.label, size=13))
    out.append(text(20, TOP + height / 2, y_axis.label, size=13,
                    more=f"transform='rotate(-90 20 {TOP + height / 2:.1f})'"))

    colours = iter(COLOURS)
    lines = [(name, [(x_of(x), y_of(y)) for x, y in points],
              REFERENCE_COLOUR if name == "reference" else next(colours))
             for name, points in series.items()]
    for name, points, colour in lines:
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f"<polyline points='{way}' fill='none' stroke='{colour}' stroke-width='2.2'/>")
        if dots:
            out += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in points]
    by_height = sorted(lines, key=lambda line: line[1][-1][1])
    for (name, points, colour), y in zip(by_height, names_apart([l[1][-1][1] for l in by_height])):
        out.append(text(LEFT + width + 10, y + 4, name, "start", 12.5, colour))
    out.append("</svg>")
    return "\n".join(out) + "\n"


# ---- the charts of a run -------------------------------------------------------------------------


def throughput(series):
    points = [p for line in series.values() for p in line]
    return chart("Commands per second against the limit",
                 Axis("limit (commands at a time)", 1, max(x for x, _ in points), 2),
                 Axis("/bin/true per second", 0, max(y for _, y in points)), series)


def queue_length(series):
    points = [p for line in series.values() for p in line]
    return chart("Cost of an operation against the queue's length, in memory",
                 Axis("pending jobs", min(x for x, _ in points), max(x for x, _ in points), 10),
                 Axis("microseconds", min(y for _, y in points), max(y for _, y in points), 10),
                 series)


def latency(series):
    """From sorted durations, evenly spaced; what the slowest percent took is left out."""
    lines = {name: [(value, 100 * i / (len(values) - 1)) for i, value in enumerate(values)]
             for name, values in series.items()}
    lines = {name: [p for p in line if p[1] <= 99] for name, line in lines.items()}
    ends = [p for line in lines.values() for p in (line[0], line[-1])]
    return chart("Latency of one /bin/true, submit to completion, idle daemon",
                 Axis("microseconds", min(x for x, _ in ends), max(x for x, _ in ends)),
                 Axis("percent of the jobs within", 0, 100), lines, dots=False)


# File, the series that it shows, how, and what stands below it.
CHARTS = (
    ("throughput.svg", "limits", throughput, "Throughput against the limit"),
    ("queue-length.svg", "length", queue_length, "Cost per operation against the queue's length"),
    ("latency.svg", "latency", latency, "Latency distribution"),
)


def draw(series):
    """File name → SVG, of what there are figures for."""
    return {name: function(series[key]) for name, key, function, _ in CHARTS if key in series}
