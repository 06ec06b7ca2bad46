//! The results: a table of ratios, the absolute values, and both for machines.

use serde_json::{Value, json};

use super::contender::Contender;
use super::pairs::{Better, Rounds, any_given_up, ratios, values};
use crate::figures::machine::Noise;
use crate::figures::samples::Samples;

/// A kind of value, and its limits.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) decimals: usize,
    pub(super) better: Better,
    /// How many times better than Kafka as shipped.
    pub(super) ratio_at_least: Option<f64>,
    /// In the unit of the value, on any machine.
    pub(super) at_most: Option<f64>,
}

impl Measure {
    pub(super) fn less(what: impl Into<String>, unit: &'static str, decimals: usize) -> Self {
        Self { what: what.into(), unit, decimals, better: Better::Less, ratio_at_least: None, at_most: None }
    }

    pub(super) fn more(what: impl Into<String>, unit: &'static str, decimals: usize) -> Self {
        Self { better: Better::More, ..Self::less(what, unit, decimals) }
    }

    pub(super) fn times(self, ratio: f64) -> Self {
        Self { ratio_at_least: Some(ratio), ..self }
    }

    pub(super) fn at_most(self, limit: f64) -> Self {
        Self { at_most: Some(limit), ..self }
    }

    /// A scaled-down run cannot meet limits.
    pub(super) fn without_promises(self) -> Self {
        Self { ratio_at_least: None, at_most: None, ..self }
    }

    /// A value in its unit.
    pub(super) fn shown(&self, value: f64) -> String {
        format!("{value:.*} {}", self.decimals, self.unit)
    }

    fn target(&self) -> String {
        let ratio = self.ratio_at_least.map(|ratio| format!("≥ {ratio}×"));
        let limit = self.at_most.map(|limit| format!("≤ {limit} {}", self.unit));
        let both: Vec<_> = ratio.into_iter().chain(limit).collect();
        if both.is_empty() { "–".to_owned() } else { both.join(", ") }
    }
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) measure: Measure,
    pub(super) rounds: Rounds,
    /// Disturbances in each round.
    pub(super) noise: Vec<Noise>,
    /// The client's value with a broker that stores nothing.
    pub(super) ceiling: Option<f64>,
}

impl Row {
    /// None without a limit.
    pub(super) fn holds(&self) -> Option<bool> {
        let measure = &self.measure;
        let ratio = measure.ratio_at_least.map(|least| least <= ratios(&self.rounds, 1, measure.better).median());
        let limit = measure.at_most.map(|most| values(&self.rounds, 0).median() <= most);
        [ratio, limit].into_iter().flatten().reduce(|one, other| one && other)
    }

    fn cells(&self, contenders: &[Contender]) -> Vec<String> {
        let count = contenders.len();
        let verdict = self.holds().map_or("–", |holds| if holds { "holds" } else { "misses" });
        let what = match self.rounds.disturbed {
            0 => self.measure.what.clone(),
            disturbed => format!("{} ({disturbed} of {} disturbed)", self.measure.what, self.rounds.taken.len()),
        };
        let mut cells = vec![what];
        cells.extend((1..count).map(|rival| self.ratio(rival)));
        cells.extend([self.measure.target(), verdict.to_owned()]);
        cells.extend((0..count).map(|contender| self.absolute(contender)));
        cells
    }

    fn ratio(&self, rival: usize) -> String {
        let bound = match [any_given_up(&self.rounds, 0), any_given_up(&self.rounds, rival)] {
            [false, false] => "",
            [false, true] => "> ",
            [true, false] => "< ",
            [true, true] => "? ",
        };
        let ratios = ratios(&self.rounds, rival, self.measure.better);
        let [median, least, most] = [ratios.median(), ratios.least(), ratios.most()].map(significant);
        format!("{bound}{median}× ({least}–{most})")
    }

    fn absolute(&self, contender: usize) -> String {
        let bound = if any_given_up(&self.rounds, contender) { "> " } else { "" };
        let values = values(&self.rounds, contender);
        let median = self.measure.shown(values.median());
        let share =
            self.ceiling.map(|ceiling| format!(", {:.0} % of the client's most", values.median() / ceiling * 1e2));
        format!("{bound}{median}{}", share.unwrap_or_default())
    }

    fn json(&self, contenders: &[Contender]) -> Value {
        let spread = |samples: &Samples<f64>| json!([samples.median(), samples.least(), samples.most()]);
        let against = (1..).zip(contenders.iter().skip(1)).map(|(rival, contender)| {
            (contender.name().to_owned(), spread(&ratios(&self.rounds, rival, self.measure.better)))
        });
        let measured = contenders.iter().enumerate().map(|(index, contender)| {
            let readings = self.rounds.taken.iter().filter_map(|round| round.get(index));
            let readings = readings.map(|reading| json!({"value": reading.value, "given_up": reading.given_up}));
            (contender.name().to_owned(), readings.collect())
        });
        json!({
            "what": self.measure.what,
            "unit": self.measure.unit,
            "better": if self.measure.better == Better::Less { "less" } else { "more" },
            "ratio_at_least": self.measure.ratio_at_least,
            "at_most": self.measure.at_most,
            "holds": self.holds(),
            "ratio_median_least_most": against.collect::<serde_json::Map<_, _>>(),
            "rounds": measured.collect::<serde_json::Map<_, _>>(),
            "noise": self.noise.iter().map(noise).collect::<Value>(),
            "rounds_disturbed": self.rounds.disturbed,
            "client_ceiling": self.ceiling,
        })
    }
}

/// In Markdown.
pub(super) fn markdown(rows: &[Row], contenders: &[Contender]) -> String {
    let names = || contenders.iter().map(|contender| contender.name().to_owned());
    let mut head = vec!["what".to_owned()];
    head.extend(names().skip(1).map(|rival| format!("better than {rival} (median, min–max)")));
    head.extend(["target".to_owned(), String::new()]);
    head.extend(names());
    let rule = vec!["---".to_owned(); head.len()];
    let lines = [head, rule].into_iter().chain(rows.iter().map(|row| row.cells(contenders)));
    lines.map(|cells| format!("| {} |", cells.join(" | "))).collect::<Vec<_>>().join("\n")
}

pub(super) fn json(rows: &[Row], contenders: &[Contender]) -> Value {
    rows.iter().map(|row| row.json(contenders)).collect()
}

/// Shares of the machine.
fn noise(noise: &Noise) -> Value {
    json!({"steal": noise.stolen, "other_work": noise.foreign, "cpu_pressure": noise.pressure})
}

/// Two significant digits, more for larger ratios.
fn significant(ratio: f64) -> String {
    let decimals = if ratio < 1.0 { 2 } else { usize::from(ratio < 10.0) };
    format!("{ratio:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::kafka::pairs::Reading;

    const BOTH: [Contender; 2] = [Contender::Millrace, Contender::Kafka];

    fn row(measure: Measure, rounds: &[[f64; 2]]) -> Row {
        let taken = rounds.iter().map(|round| round.map(Reading::from).to_vec()).collect();
        Row { measure, rounds: Samples { taken, disturbed: 0 }, noise: Vec::new(), ceiling: None }
    }

    #[test]
    fn a_row_is_judged_by_all_that_is_promised() {
        let rounds = [[100.0, 900.0], [200.0, 1000.0], [100.0, 1000.0]];
        let less = || Measure::less("x", "ms", 0);
        for (measure, target, holds) in [
            (less(), "–", None),
            (less().times(9.0), "≥ 9×", Some(true)),
            (less().times(9.5), "≥ 9.5×", Some(false)),
            (less().at_most(100.0), "≤ 100 ms", Some(true)),
            (less().times(9.0).at_most(99.0), "≥ 9×, ≤ 99 ms", Some(false)),
            (less().times(20.0).at_most(100.0), "≥ 20×, ≤ 100 ms", Some(false)),
        ] {
            let row = row(measure, &rounds);
            assert_eq!((row.measure.target().as_str(), row.holds()), (target, holds));
        }
    }

    #[test]
    fn the_table_says_what_is_no_clean_measurement() {
        let mut row = row(Measure::more("speed", "MB/s", 0), &[[80.0, 8.0], [90.0, 10.0]]);
        row.ceiling = Some(100.0);
        let plain = [
            "speed",
            "9.5× (9.0–10)",
            "–",
            "–",
            "85 MB/s, 85 % of the client's most",
            "9 MB/s, 9 % of the client's most",
        ];
        assert_eq!(row.cells(&BOTH), plain);
        row.rounds.disturbed = 1;
        row.rounds.taken[0][1].given_up = true;
        let cells = row.cells(&BOTH);
        assert_eq!(cells[..2], ["speed (1 of 2 disturbed)", "> 9.5× (9.0–10)"]);
        assert!(cells[5].starts_with("> 9 MB/s"), "{cells:?}");
    }

    #[test]
    fn nothing_measured_keeps_no_promise() {
        assert_eq!(row(Measure::less("x", "ms", 0).times(1.0), &[]).holds(), Some(false));
    }
}
