//! The rows: median and spread of the rounds, for people or as JSON lines.

use serde_json::{Map, Value, json};

use crate::measure::{Figure, Sample};

/// Above this the clients, not the broker, limit the rate.
const BUSY: f64 = 0.9;

/// The rounds of one broker in one phase of a scenario.
#[derive(Default)]
pub(crate) struct Rounds(Vec<Sample>);

/// Of the rounds.
#[derive(Clone, Copy)]
struct Summary {
    figure: Figure,
    median: f64,
    least: f64,
    most: f64,
}

impl Summary {
    fn of(figure: Figure, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (middle, last) = (values.len() / 2, values.len() - 1);
        let median = (values[middle] + values[last - middle]) / 2.0;
        Self { figure, median, least: values[0], most: values[last] }
    }

    /// Half the way from the least to the most, as a part of the median.
    fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.most - self.least) / 2.0 / self.median }
    }
}

impl Rounds {
    pub(crate) fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    fn summaries(&self) -> Vec<Summary> {
        let first = self.0.first().map_or(&[][..], |sample| &sample.figures);
        let values = |place: usize| self.0.iter().map(move |sample| sample.figures[place].1);
        let summary = |(place, (figure, _)): (usize, &(Figure, f64))| {
            Summary::of(*figure, values(place).collect())
        };
        first.iter().enumerate().map(summary).collect()
    }

    /// Of a figure that each round has.
    pub(crate) fn median(&self, figure: Figure) -> f64 {
        let found = self.summaries().into_iter().find(|summary| summary.figure == figure);
        found.map_or(f64::NAN, |summary| summary.median)
    }

    /// Messages or connections that were checked in a round.
    pub(crate) fn count(&self) -> u64 {
        self.0.first().map_or(0, |sample| sample.count)
    }
}

pub(crate) fn print_head() {
    println!(
        "{:<22} {:<10} {:>11} {:>4} {:>10} {:>4} {:>9} {:>8}  further",
        "scenario", "broker", "a second", "±%", "CPU µs", "±%", "peak MiB", "clients%"
    );
}

/// Prints what both brokers did, or one, and how they compare.
pub(crate) fn print(name: &str, brokers: &[(&str, Rounds)], as_json: bool) {
    let all: Vec<Vec<Summary>> = brokers.iter().map(|(_, rounds)| rounds.summaries()).collect();
    for ((broker, rounds), summaries) in brokers.iter().zip(&all) {
        if as_json {
            println!("{}", object(name, broker, rounds, summaries));
        } else {
            println!("{}", row(name, broker, summaries));
        }
    }
    if let [ours, theirs] = &all[..] {
        let ratios = ours.iter().zip(theirs).filter(|(_, theirs)| theirs.median > 0.0);
        let ratios = ratios.map(|(ours, theirs)| (ours.figure, ours.median / theirs.median));
        let ratios: Vec<(Figure, f64)> = ratios.collect();
        if as_json {
            let ratios = ratios.iter().map(|(figure, ratio)| (figure.name().into(), json!(ratio)));
            let ratios = Value::Object(ratios.collect());
            println!("{}", json!({ "scenario": name, "ratio": ratios }));
        } else {
            println!("{}", ratio_row(name, &ratios));
        }
    }
}

pub(crate) fn print_failure(name: &str, broker: &str, problem: &str, as_json: bool) {
    if as_json {
        println!("{}", json!({ "scenario": name, "broker": broker, "failed": problem }));
    } else {
        println!("{name:<22} {broker:<10} failed: {problem}");
    }
}

fn object(name: &str, broker: &str, rounds: &Rounds, summaries: &[Summary]) -> Value {
    let mut object = Map::new();
    object.insert("scenario".into(), json!(name));
    object.insert("broker".into(), json!(broker));
    object.insert("rounds".into(), json!(rounds.0.len()));
    object.insert("verified".into(), json!(rounds.count()));
    for Summary { figure, median, least, most } in summaries {
        let value = json!({ "median": median, "least": least, "most": most });
        object.insert(figure.name().into(), value);
    }
    Value::Object(object)
}

fn row(name: &str, broker: &str, summaries: &[Summary]) -> String {
    let find = |figure| summaries.iter().find(|one| one.figure == figure);
    let median = |figure| find(figure).map_or(0.0, |one| one.median);
    let spread = |figure| find(figure).map_or(0.0, |one| one.spread() * 100.0);
    let mut row = format!(
        "{name:<22} {broker:<10} {:>11.0} {:>4.0} {:>10.2} {:>4.0} {:>9.1} {:>8.0}",
        median(Figure::Rate),
        spread(Figure::Rate),
        median(Figure::Cpu),
        spread(Figure::Cpu),
        median(Figure::Peak) / f64::from(1 << 20),
        median(Figure::Generator) * 100.0,
    );
    for one in summaries {
        let value = one.median;
        match one.figure {
            Figure::Written if value >= 1.0 => row += &format!("  {value:.0} bytes written each"),
            Figure::Connection => row += &format!("  {value:.0} bytes resident each"),
            Figure::Median => row += &format!("  p50 {value:.2} ms"),
            Figure::P99 => row += &format!("  p99 {value:.2}"),
            Figure::P999 => row += &format!("  p99.9 {value:.2}"),
            Figure::AckMedian => row += &format!("  ack p50 {value:.2}"),
            Figure::AckP99 => row += &format!("  p99 {value:.2}"),
            Figure::LateP99 => row += &format!("  sent late p99 {value:.2}"),
            _ => {}
        }
    }
    if median(Figure::Generator) > BUSY {
        row += "  (the clients limit the rate)";
    }
    row
}

fn ratio_row(name: &str, ratios: &[(Figure, f64)]) -> String {
    let text = |figure| {
        let found = ratios.iter().find(|(one, _)| *one == figure);
        found.map_or_else(|| "-".into(), |(_, ratio)| format!("{ratio:.2}"))
    };
    let mut row = format!(
        "{name:<22} {:<10} {:>11} {:>4} {:>10} {:>4} {:>9}",
        "ratio",
        text(Figure::Rate),
        "",
        text(Figure::Cpu),
        "",
        text(Figure::Peak)
    );
    for (figure, what) in [(Figure::Connection, "bytes each"), (Figure::P99, "p99")] {
        if ratios.iter().any(|(one, _)| *one == figure) {
            row += &format!("{:>10}  {what} {}", "", text(figure));
        }
    }
    row
}
