//! The chart as a picture (SVG), legible in a light room and in a dark one.

use std::fmt::{Result, Write};

use super::bands::{Band, Lasting, bands};
use super::label::Names;
use super::merge::Chart;
use super::page::{INDENT, Page, TOP};
use super::records::Micros;

/// How wide a band is.
const BAND: f64 = 13.0;

/// Colours for a light room; then those that are others in a dark one.
const STYLE: &str = "\
text{font:13px system-ui,'DejaVu Sans',Arial,sans-serif;fill:#1b1f24}
.label,.note{paint-order:stroke;stroke:#fff;stroke-width:5px;stroke-linejoin:round}
.paper{fill:#fff}.head{fill:#eef1f4;stroke:#59636e}.name{font-weight:600;text-anchor:middle}
.title{font-size:17px;font-weight:600}.time{font-size:12px;fill:#59636e;text-anchor:end}
.note{font-style:italic}.end{text-anchor:end}
line{stroke-width:1.6}.life{stroke:#8c959f;stroke-width:1.2}.gone{stroke-dasharray:2 5}
.cross{stroke:#cf222e;stroke-width:2.4;fill:none}
.waits,.choked{fill:#f2b84b}.computes{fill:#8ccfae}.band{font-size:10px;text-anchor:middle}
line.stay{stroke:#59636e}path.stay{fill:#59636e}line.lease{stroke:#bc4c00}path.lease{fill:#bc4c00}
line.files{stroke:#0a7069}path.files{fill:#0a7069}line.products{stroke:#0550ae}path.products{fill:#0550ae}
line.pieces{stroke:#7a2ea8}path.pieces{fill:#7a2ea8}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.label,.note{stroke:#11151a}.paper{fill:#11151a}.head{fill:#21272e;stroke:#9198a1}
.time{fill:#9198a1}.life{stroke:#6e7681}.cross{stroke:#ff7b72}
.waits,.choked{fill:#8a5d00}.computes{fill:#23694b}
line.stay{stroke:#9198a1}path.stay{fill:#9198a1}line.lease{stroke:#f0883e}path.lease{fill:#f0883e}
line.files{stroke:#3fc9bd}path.files{fill:#3fc9bd}line.products{stroke:#79b8ff}path.products{fill:#79b8ff}
line.pieces{stroke:#d2a8ff}path.pieces{fill:#d2a8ff}
}
";

/// What a message is about: its style, and the words of the legend.
fn subject(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "lease" | "wait" | "leased" | "renew" | "release" | "released" | "blame" | "lost" | "expired"
        | "progress" => ("lease", "a lease: requester and manager"),
        "query" | "holders" | "update" | "updated" | "files" | "file" | "end" | "drop" | "dropped" => {
            ("files", "files: peer and manager")
        }
        "multiply" | "product" => ("products", "products: peer and peer"),
        "join" | "bitfield" | "interested" | "have" | "request" | "piece" | "wrong" | "choke" | "unchoke"
        | "get" => ("pieces", "pieces: peer and peer"),
        _ => ("stay", "a peer's stay: peer and manager"),
    }
}

impl Lasting {
    fn class(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Choked => "choked",
            Self::Computes => "computes",
        }
    }
}

/// A chart as SVG.
pub(crate) fn draw(chart: &Chart, title: &str) -> String {
    let names = Names::of(chart);
    let labels: Vec<String> = chart.arrows.iter().map(|arrow| names.label(&arrow.message)).collect();
    let page = Page::lay_out(chart, &labels);
    let mut svg = String::new();
    // Writing into a text does not fail.
    let _ = write_page(&page, &mut svg, title, &labels);
    svg
}

fn write_page(page: &Page<'_>, svg: &mut String, title: &str, labels: &[String]) -> Result {
    let bands = bands(page.chart);
    let legend = legend(page.chart, &bands);
    let (wide, high) = page.size(title, legend.len().div_ceil(2));
    let title = escaped(title);
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0} {high:.0}" width="{wide:.0}" height="{high:.0}" role="img">
<title>{title}</title>
<style>
{STYLE}</style>
<rect class="paper" width="{wide:.0}" height="{high:.0}"/>
<text class="title" x="16" y="28">{title}</text>"#
    )?;
    write_lanes(page, svg)?;
    write_times(page, svg)?;
    let mut ways = Vec::new();
    for (place, band) in bands.iter().enumerate() {
        ways.push(page.way(&bands, place, &ways));
        write_band(page, svg, band, ways[place])?;
    }
    for arrow in 0..labels.len() {
        write_arrow(page, svg, arrow)?;
    }
    // Above all lines, so that none crosses a word.
    for (arrow, label) in labels.iter().enumerate() {
        write_label(page, svg, arrow, label)?;
    }
    write_notes(page, svg)?;
    for (place, (sample, words)) in legend.iter().enumerate() {
        let (x, y) = (16 + place % 2 * 300, page.bottom + 58.0 + (place / 2 * 20) as f64);
        writeln!(
            svg,
            r#"<g transform="translate({x},{y:.0})">{sample}<text x="36" y="4">{words}</text></g>"#
        )?;
    }
    writeln!(svg, "</svg>")
}

/// A lane for each node: its name at both ends, and a line, which is broken where its node is killed.
fn write_lanes(page: &Page<'_>, svg: &mut String) -> Result {
    for (lane, name) in page.chart.lanes.iter().enumerate() {
        let x = page.x(lane);
        let end = page.killed(lane).unwrap_or(page.bottom);
        writeln!(svg, r#"<line class="life" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{end:.1}"/>"#)?;
        if end < page.bottom {
            let bottom = page.bottom;
            writeln!(
                svg,
                r#"<line class="life gone" x1="{x:.1}" x2="{x:.1}" y1="{end:.1}" y2="{bottom:.1}"/>"#
            )?;
        }
        for y in [TOP - 26.0, page.bottom] {
            let (left, middle) = (x - 50.0, y + 17.0);
            writeln!(
                svg,
                r#"<rect class="head" x="{left:.1}" y="{y:.1}" width="100" height="26" rx="5"/><text class="name" x="{x:.1}" y="{middle:.1}">{}</text>"#,
                escaped(name)
            )?;
        }
    }
    Ok(())
}

/// When each message was said, in milliseconds from the first, and how long the gaps are.
fn write_times(page: &Page<'_>, svg: &mut String) -> Result {
    let begin = page
        .chart
        .arrows
        .iter()
        .map(|arrow| arrow.begins())
        .chain(page.chart.notes.iter().map(|note| note.0))
        .min();
    let begin = begin.unwrap_or_default();
    let mut time = |at: Micros, y: f64| {
        let ms = (at - begin) as f64 / 1000.0;
        writeln!(svg, r#"<text class="time" x="64" y="{:.1}">{ms:.3}</text>"#, y + 4.0)
    };
    for (arrow, (y, _)) in page.chart.arrows.iter().zip(&page.ends) {
        time(arrow.begins(), *y)?;
    }
    for (note, y) in page.chart.notes.iter().zip(&page.notes) {
        time(note.0, *y)?;
    }
    for (y, long) in &page.gaps {
        let seconds = *long as f64 / 1e6;
        writeln!(svg, r#"<text class="time gap" x="64" y="{y:.1}">⋮ {seconds:.1} s ⋮</text>"#)?;
    }
    writeln!(svg, r#"<text class="time" x="64" y="{:.1}">ms</text>"#, TOP - 9.0)
}

fn write_band(page: &Page<'_>, svg: &mut String, band: &Band, way: usize) -> Result {
    let (from, to) = page.stretch(band);
    let x = page.x(band.lane) + way as f64 * (BAND + 2.0) - BAND / 2.0;
    let (class, word, high) = (band.kind.class(), band.kind.word(), to - from);
    writeln!(
        svg,
        r#"<rect class="{class}" x="{x:.1}" y="{from:.1}" width="{BAND}" height="{high:.1}" rx="2"/>"#
    )?;
    if high > 100.0 {
        let (x, y) = (x + BAND / 2.0 + 3.5, (from + to) / 2.0);
        writeln!(
            svg,
            r#"<text class="band" transform="translate({x:.1},{y:.1}) rotate(-90)">{word}</text>"#
        )?;
    }
    Ok(())
}

fn write_arrow(page: &Page<'_>, svg: &mut String, place: usize) -> Result {
    let arrow = &page.chart.arrows[place];
    let (from, mut to, (said, mut heard)) = (page.x(arrow.from), page.x(arrow.to), page.ends[place]);
    let lost = arrow.heard.is_none() && arrow.to < page.chart.logged;
    if lost {
        (to, heard) = (to + (from - to) * 0.12, heard + 5.0);
    }
    let (class, _) = subject(arrow.kind());
    let (one, other) = (&page.chart.lanes[arrow.from], &page.chart.lanes[arrow.to]);
    writeln!(
        svg,
        r#"<g class="message"><title>{} to {}: {}</title><line class="{class}" x1="{from:.1}" y1="{said:.1}" x2="{to:.1}" y2="{heard:.1}"/>"#,
        escaped(one),
        escaped(other),
        took(arrow.said, arrow.heard)
    )?;
    if lost {
        write_cross(svg, to, heard)?;
    } else {
        let degrees = (heard - said).atan2(to - from).to_degrees();
        writeln!(
            svg,
            r#"<path class="{class}" d="M0 0l-9 -4v8z" transform="translate({to:.1},{heard:.1}) rotate({degrees:.1})"/>"#
        )?;
    }
    writeln!(svg, "</g>")
}

/// What an arrow says, where it begins.
fn write_label(page: &Page<'_>, svg: &mut String, place: usize, label: &str) -> Result {
    let arrow = &page.chart.arrows[place];
    let (from, y) = (page.x(arrow.from), page.ends[place].0 - 5.0);
    let (x, side) = if arrow.to < arrow.from { (from - INDENT, " end") } else { (from + INDENT, "") };
    writeln!(svg, r#"<text class="label{side}" x="{x:.1}" y="{y:.1}">{}</text>"#, escaped(label))
}

fn write_notes(page: &Page<'_>, svg: &mut String) -> Result {
    for ((_, lane, text), y) in page.chart.notes.iter().zip(&page.notes) {
        if page.killed(*lane) == Some(*y) {
            write_cross(svg, page.x(*lane), *y)?;
        }
        let last = *lane > 0 && lane + 1 == page.chart.lanes.len();
        let (x, side) = if last { (page.x(*lane) - INDENT, " end") } else { (page.x(*lane) + INDENT, "") };
        writeln!(svg, r#"<text class="note{side}" x="{x:.1}" y="{:.1}">{}</text>"#, y + 4.0, escaped(text))?;
    }
    Ok(())
}

fn write_cross(svg: &mut String, x: f64, y: f64) -> Result {
    writeln!(svg, r#"<path class="cross" d="M{:.1} {:.1}l10 10m0 -10l-10 10"/>"#, x - 5.0, y - 5.0)
}

/// A sample and its words for each subject and each kind of band that there is.
fn legend(chart: &Chart, bands: &[Band]) -> Vec<(String, &'static str)> {
    let mut legend = Vec::new();
    for (class, words) in chart.arrows.iter().map(|arrow| subject(arrow.kind())) {
        let sample = format!(r#"<line class="{class}" x2="22"/><path class="{class}" d="M28 0l-9 -4v8z"/>"#);
        legend.push((sample, words));
    }
    for kind in bands.iter().map(|band| band.kind) {
        let sample =
            format!(r#"<rect class="{}" x="8" y="-8" width="{BAND}" height="16" rx="2"/>"#, kind.class());
        legend.push((sample, kind.word()));
    }
    let mut known = Vec::new();
    legend.retain(|(_, words)| {
        !known.contains(words) && {
            known.push(*words);
            true
        }
    });
    legend
}

/// How long a message was on its way, in words.
fn took(said: Option<Micros>, heard: Option<Micros>) -> String {
    match (said, heard) {
        (Some(said), Some(heard)) => format!("{:.3} ms", (heard - said) as f64 / 1000.0),
        (Some(_), None) => "said, and nobody logged that it was heard".into(),
        _ => "heard; its speaker gave no log".into(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
