//! Draws the report's figures from its data: `cargo run --release --features measure --example figures [FOLDER]`.
//!
//! Each figure is a function from a CSV file in `FOLDER/data` to an SVG file in `FOLDER/figures`; the folder is that of
//! the report if absent. Lines are told apart by their marks too, not only by their colours.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use peerlab::share::theory::{LowerBound, Setting, client_server, swarm};
use plotters::coord::CoordTranslate;
use plotters::prelude::*;

const SIZE: (u32, u32) = (720, 440);
const FONT: (&str, u32) = ("sans-serif", 15);

/// A line of a figure: its name and its points.
type Line = (String, Vec<(f64, f64)>);

/// A row of data: its values by the names of their columns.
type Row = BTreeMap<String, String>;

fn main() -> Result<(), Box<dyn Error>> {
    let report = Path::new(env!("CARGO_MANIFEST_DIR")).join("report");
    let report = std::env::args_os().nth(1).map_or(report, PathBuf::from);
    if report.to_string_lossy().starts_with('-') {
        println!(
            "Usage: figures [FOLDER]      draws FOLDER/figures/*.svg from FOLDER/data/*.csv; report/ if absent"
        );
        return Ok(());
    }
    fs::create_dir_all(report.join("figures"))?;
    if let Some(rows) = read(&report.join("data/multiply.csv"))? {
        growth(&rows, &report.join("figures/growth.svg"))?;
    }
    if let Some(rows) = read(&report.join("data/leases.csv"))? {
        leases(&rows, &report.join("figures/leases.svg"))?;
    }
    if let Some(rows) = read(&report.join("data/distribution.csv"))? {
        distribution(&rows, 70.0, &report.join("figures/distribution.svg"))?;
        distribution(&rows, 10.0, &report.join("figures/swarm.svg"))?;
    }
    if let Some(rows) = read(&report.join("data/free-riding.csv"))? {
        free_riding(&rows, &report.join("figures/free-riding.svg"))?;
    }
    if let Some(rows) = read(&report.join("data/swarm-size.csv"))? {
        sizes(&rows, &report.join("figures/swarm-size.svg"))?;
    }
    if let Some(rows) = read(&report.join("data/swarm-riders.csv"))? {
        riders(&rows, &report.join("figures/swarm-riders.svg"))?;
    }
    for name in ["growth", "leases", "distribution", "swarm", "free-riding", "swarm-size", "swarm-riders"] {
        darken(&report.join(format!("figures/{name}.svg")))?;
    }
    Ok(())
}

/// What a dark page makes of the colours of a figure.
const DARK: &str = "<style>@media (prefers-color-scheme:dark){[fill='#FFFFFF']{fill:#11151a}\
    [fill='#000000']{fill:#e6edf3}[stroke='#000000']{stroke:#e6edf3}\
    [fill='#0072B2']{fill:#56b4e9}[stroke='#0072B2']{stroke:#56b4e9}}</style>\n";

/// Makes a figure legible on a dark page, too.
fn darken(path: &Path) -> Result<(), Box<dyn Error>> {
    let Ok(figure) = fs::read_to_string(path) else { return Ok(()) };
    if let Some((head, rest)) = figure.split_once('\n').filter(|_| !figure.contains(DARK)) {
        fs::write(path, format!("{head}\n{DARK}{rest}"))?;
    }
    Ok(())
}

/// The rows of a CSV file by the names in its first line; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<Row>>, Box<dyn Error>> {
    if !path.exists() {
        eprintln!("{} is not there: its figures are left as they are", path.display());
        return Ok(None);
    }
    let text = fs::read_to_string(path)?;
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().ok_or("an empty file")?.split(',').collect();
    let row = |line: &str| names.iter().zip(line.split(',')).map(|(n, v)| ((*n).into(), v.into())).collect();
    Ok(Some(lines.map(row).collect()))
}

/// The medians of column `y` over column `x`, of the rows that `choose` takes.
fn medians(rows: &[Row], choose: impl Fn(&Row) -> bool, x: &str, y: &str) -> Vec<(f64, f64)> {
    let mut values: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| choose(row)) {
        if let (Ok(x), Ok(y)) = (row[x].parse(), row[y].parse()) {
            values.entry(x).or_default().push(y);
        }
    }
    let median = |(x, mut ys): (u64, Vec<f64>)| {
        ys.sort_by(f64::total_cmp);
        (x as f64, ys[ys.len() / 2])
    };
    values.into_iter().map(median).collect()
}

fn is(row: &Row, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(name, value)| row[*name] == *value)
}

/// Time over size: who is fastest from which n on.
fn growth(rows: &[Row], to: &Path) -> Result<(), Box<dyn Error>> {
    let numpy: BTreeMap<u64, f64> = medians(rows, |row| is(row, &[("who", "numpy")]), "n", "seconds")
        .into_iter()
        .map(|(n, seconds)| (n as u64, seconds))
        .collect();
    let against = |name: &str, wanted: &[(&str, &str)]| -> Line {
        let points = medians(rows, |row| is(row, wanted), "n", "seconds");
        let ratio = |(n, seconds): (f64, f64)| Some((n, seconds / numpy.get(&(n as u64))?));
        (name.into(), points.into_iter().filter_map(ratio).collect())
    };
    let lines = [
        against("NumPy", &[("who", "numpy")]),
        against("Dask", &[("who", "dask")]),
        against("this machine alone (--local)", &[("who", "local")]),
        against("three peers, 7 products", &[("who", "network"), ("levels", "1"), ("peers", "3")]),
        against("three peers, 49 products", &[("who", "network"), ("levels", "2"), ("peers", "3")]),
    ];
    draw(
        to,
        "Time for one product, in units of NumPy's",
        "n (rows and columns)",
        "time / NumPy's time",
        &lines,
        false,
    )
}

/// Grants per second over the number of clients.
fn leases(rows: &[Row], to: &Path) -> Result<(), Box<dyn Error>> {
    let by = |name: &str, what: &str| -> Line {
        (name.into(), medians(rows, |row| is(row, &[("what", what)]), "clients", "pairs_per_second"))
    };
    let lines = [by("peerlab: lease and release", "peerlab"), by("Redis: BLPOP and RPUSH", "redis")];
    draw(to, "A pool of seven slots", "clients", "pairs per second", &lines, false)
}

/// The lecture's figure: the two bounds as lines, what was measured as points, up to `top` seconds.
fn distribution(rows: &[Row], top: f64, to: &Path) -> Result<(), Box<dyn Error>> {
    const PEERS: u64 = 33;
    let bound = |of: fn(&Setting) -> LowerBound| {
        let at = move |n| (n as f64, of(&Setting::alike(32 << 20, 8 << 20, n, 4 << 20, None)).seconds);
        (1..=PEERS).map(at).filter(move |at| at.1 <= top)
    };
    let way = |way| medians(rows, |row| is(row, &[("way", way)]), "peers", "seconds");
    let root = SVGBackend::new(to, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Until the last of N peers has 32 MiB", ("sans-serif", 19))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(68)
        .build_cartesian_2d(0.0..PEERS as f64, 0.0..top)?;
    chart
        .configure_mesh()
        .x_labels(9)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc("N, peers that upload 4 MiB/s each")
        .y_desc("seconds")
        .label_style(FONT)
        .axis_desc_style(FONT)
        .draw()?;
    let [server, peers, leaving] = [RGBColor(213, 94, 0), RGBColor(0, 114, 178), RGBColor(0, 158, 115)];
    chart
        .draw_series(LineSeries::new(bound(client_server), server.stroke_width(2)))?
        .label("D_cs, the bound: one server of 8 MiB/s")
        .legend(move |(x, y)| PathElement::new([(x - 8, y), (x + 8, y)], server.stroke_width(2)));
    chart
        .draw_series(LineSeries::new(bound(swarm), peers.stroke_width(2)))?
        .label("D_p2p, the bound: they pass on what they have")
        .legend(move |(x, y)| PathElement::new([(x - 8, y), (x + 8, y)], peers.stroke_width(2)));
    let below = |points: Vec<(f64, f64)>| points.into_iter().filter(move |at| at.1 <= top);
    chart
        .draw_series(below(way("client-server")).map(|at| Circle::new(at, 4, server.filled())))?
        .label("measured: peers that serve nobody")
        .legend(move |at| Circle::new(at, 4, server.filled()));
    chart
        .draw_series(below(way("swarm")).map(|at| TriangleMarker::new(at, 6, peers.filled())))?
        .label("measured: swarm")
        .legend(move |at| TriangleMarker::new(at, 6, peers.filled()));
    chart
        .draw_series(below(way("churn")).map(|at| Cross::new(at, 5, leaving.stroke_width(2))))?
        .label("measured: a third leaves when done")
        .legend(move |at| Cross::new(at, 5, leaving.stroke_width(2)));
    let place = if top < 20.0 { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::MiddleRight };
    legend(&mut chart, place)?;
    root.present()?;
    Ok(())
}

/// What a peer that gives nothing gains, and what it costs the others: a point for each swarm.
fn free_riding(rows: &[Row], to: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(to, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("A peer that gives nothing, among six to eleven that give", ("sans-serif", 19))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(68)
        .build_cartesian_2d(1.0..1.35, 0.7..1.5)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("time of the median honest peer / its time without the free rider")
        .y_desc("time of the free rider / of that peer")
        .label_style(FONT)
        .axis_desc_style(FONT)
        .draw()?;
    chart.draw_series(LineSeries::new([(1.0, 1.0), (1.35, 1.0)], BLACK.stroke_width(2)))?;
    let points = |who, rules| -> Result<Vec<(f64, f64)>, Box<dyn Error>> {
        let rows = rows.iter().filter(|row| is(row, &[("who", who), ("rules", rules)]));
        rows.map(|row| Ok((row["honest_cost"].parse()?, row["rider"].parse()?))).collect()
    };
    let [before, now] = [RGBColor(213, 94, 0), RGBColor(0, 114, 178)];
    for (who, rules, name, colour) in [
        ("stay", "none", "no ledger; the others stay", before),
        ("stay", "ledger", "those that owe wait; the others stay", now),
    ] {
        chart
            .draw_series(points(who, rules)?.into_iter().map(|at| Circle::new(at, 4, colour.filled())))?
            .label(name)
            .legend(move |at| Circle::new(at, 4, colour.filled()));
    }
    for (who, rules, name, colour) in [
        ("leave", "none", "no ledger; the others leave when they are done", before),
        ("leave", "ledger", "those that owe wait; the others leave", now),
    ] {
        chart
            .draw_series(
                points(who, rules)?.into_iter().map(|at| TriangleMarker::new(at, 6, colour.filled())),
            )?
            .label(name)
            .legend(move |at| TriangleMarker::new(at, 6, colour.filled()));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)?;
    root.present()?;
    Ok(())
}

/// Time over the number of peers, far beyond what programs on one machine could show.
fn sizes(rows: &[Row], to: &Path) -> Result<(), Box<dyn Error>> {
    let way = |way| medians(rows, |row| is(row, &[("way", way)]), "peers", "seconds");
    let bound = |of: fn(&Setting) -> LowerBound| {
        let setting = |n: f64| Setting::alike(16 << 20, 2 << 20, n as u64, 1 << 20, None);
        let sizes = [1.0, 3.0].into_iter().chain(way("stay").into_iter().map(|(n, _)| n));
        sizes.map(|n| (n, of(&setting(n)).seconds)).filter(|at| at.1 <= 100.0).collect()
    };
    let lines = [
        ("D_cs, the bound: one server".to_owned(), bound(client_server)),
        ("all leave when they are done".to_owned(), way("leave")),
        ("a third is replaced by newcomers".to_owned(), way("replaced")),
        ("the swarm, and all stay".to_owned(), way("stay")),
        ("D_p2p, the bound".to_owned(), bound(swarm)),
    ];
    draw(to, "Until the last of N peers has 16 MiB, in virtual time", "N", "seconds", &lines, true)
}

/// How the honest and the free riders fare, by the share of free riders.
fn riders(rows: &[Row], to: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(to, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("1000 peers, of which some give nothing: they all stay", ("sans-serif", 19))
        .margin(12)
        .margin_right(30)
        .x_label_area_size(44)
        .y_label_area_size(68)
        .build_cartesian_2d(0.0..60.0, 0.9..2.6)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|x| format!("{x:.0} %"))
        .x_desc("free riders among the peers")
        .y_desc("median time / without any")
        .label_style(FONT)
        .axis_desc_style(FONT)
        .draw()?;
    let [before, now] = [RGBColor(213, 94, 0), RGBColor(0, 114, 178)];
    let points = |rules, who: &str| {
        let points = medians(rows, |row| is(row, &[("rules", rules)]), "percent", who);
        [vec![(0.0, 1.0)], points].concat()
    };
    let bound = (0..=60).map(|percent| (f64::from(percent), 100.0 / f64::from(100 - percent)));
    chart
        .draw_series(LineSeries::new(bound, BLACK.stroke_width(1)))?
        .label("all links carry all copies: 1 / (1 - share)")
        .legend(|(x, y)| PathElement::new([(x - 8, y), (x + 8, y)], BLACK.stroke_width(1)));
    for (rules, colour, honest, rider) in [
        ("none", before, "no ledger: the honest", "no ledger: the free riders"),
        ("ledger", now, "those that owe wait: the honest", "those that owe wait: the free riders"),
    ] {
        for who in ["honest", "rider"] {
            chart.draw_series(LineSeries::new(points(rules, who), colour.stroke_width(2)))?;
        }
        chart
            .draw_series(
                points(rules, "rider").into_iter().map(|at| TriangleMarker::new(at, 6, colour.filled())),
            )?
            .label(rider)
            .legend(move |at| TriangleMarker::new(at, 6, colour.filled()));
        chart
            .draw_series(points(rules, "honest").into_iter().map(|at| Circle::new(at, 4, colour.filled())))?
            .label(honest)
            .legend(move |at| Circle::new(at, 4, colour.filled()));
    }
    legend(&mut chart, SeriesLabelPosition::UpperLeft)?;
    root.present()?;
    Ok(())
}

/// Which mark is what, in a corner of a figure.
fn legend<'a, DB: DrawingBackend + 'a, CT: CoordTranslate>(
    chart: &mut ChartContext<'a, DB, CT>,
    place: SeriesLabelPosition,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    chart
        .configure_series_labels()
        .position(place)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(FONT)
        .draw()
}

/// Lines over two logarithmic axes; their names stand above on the `left`, or on the right.
fn draw(to: &Path, title: &str, x: &str, y: &str, lines: &[Line], left: bool) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let range = |value: fn(&(f64, f64)) -> f64| {
        let (low, high) =
            points().map(value).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = (low * 0.8, high * 1.25);
        // An axis within one power of ten has no labels: it begins with that.
        let decade = 10_f64.powf(low.log10().floor());
        if high < 10.0 * decade { decade..high } else { low..high }
    };
    if points().next().is_none() {
        return Ok(());
    }
    let path: PathBuf = to.to_owned();
    let root = SVGBackend::new(&path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 19))
        .margin(12)
        .margin_right(30)
        .x_label_area_size(44)
        .y_label_area_size(78)
        .build_cartesian_2d(range(|p| p.0).log_scale(), range(|p| p.1).log_scale())?;
    chart
        .configure_mesh()
        // Between the labelled lines of a logarithmic axis there are too many others.
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y}"))
        .x_desc(x)
        .y_desc(y)
        .label_style(FONT)
        .axis_desc_style(FONT)
        .draw()?;
    // The palette of Okabe and Ito, which colour-blind eyes tell apart.
    let colours = [
        RGBColor(0, 0, 0),
        RGBColor(213, 94, 0),
        RGBColor(0, 158, 115),
        RGBColor(0, 114, 178),
        RGBColor(204, 121, 167),
    ];
    for (i, (name, points)) in lines.iter().enumerate() {
        let colour = colours[i % colours.len()];
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        let points = points.iter().copied();
        match i % 3 {
            0 => chart
                .draw_series(points.map(|at| Circle::new(at, 4, colour.filled())))?
                .label(name)
                .legend(move |at| Circle::new(at, 4, colour.filled())),
            1 => chart
                .draw_series(points.map(|at| TriangleMarker::new(at, 6, colour.filled())))?
                .label(name)
                .legend(move |at| TriangleMarker::new(at, 6, colour.filled())),
            _ => chart
                .draw_series(points.map(|at| Cross::new(at, 5, colour.stroke_width(2))))?
                .label(name)
                .legend(move |at| Cross::new(at, 5, colour.stroke_width(2))),
        };
    }
    let place = if left { SeriesLabelPosition::UpperLeft } else { SeriesLabelPosition::UpperRight };
    legend(&mut chart, place)?;
    root.present()?;
    Ok(())
}
