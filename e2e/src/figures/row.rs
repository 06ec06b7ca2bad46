//! A table of what was measured.

use super::samples::Samples;

/// One row of the table: a measurement and its limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    what: String,
    unit: &'static str,
    decimals: usize,
    at_most: Option<f64>,
    samples: Samples<f64>,
}

impl Row {
    pub(super) fn new(what: impl Into<String>, unit: &'static str, decimals: usize, samples: Samples<f64>) -> Self {
        Self { what: what.into(), unit, decimals, at_most: None, samples }
    }

    /// Sets the limit of the median, in the row's unit.
    pub(super) fn at_most(self, limit: f64) -> Self {
        Self { at_most: Some(limit), ..self }
    }

    /// A figure that could not be measured does not hold.
    pub(super) fn not_measured(what: impl Into<String>) -> Self {
        Self::new(what, "", 0, Samples::none()).at_most(0.0)
    }

    /// Whether the median is within the promise.
    pub fn holds(&self) -> bool {
        self.at_most.is_none_or(|limit| self.samples.median() <= limit)
    }

    fn cells(&self) -> [String; 4] {
        let Self { unit, decimals, .. } = *self;
        let [least, median, most] = [self.samples.least(), self.samples.median(), self.samples.most()];
        let spread = match self.samples.taken.len() {
            1 => String::new(),
            _ => format!(" ({least:.decimals$}–{most:.decimals$})"),
        };
        let measured = format!("{median:.decimals$} {unit}{spread}");
        let measured = match self.samples.disturbed {
            _ if self.samples.taken.is_empty() => "not measured".to_owned(),
            0 => measured,
            count => format!("{measured}, {count} of {} disturbed", self.samples.taken.len()),
        };
        let limit = self.at_most.map_or_else(|| "–".to_owned(), |limit| format!("{limit} {unit}"));
        let verdict = self.at_most.map_or("–", |_| if self.holds() { "yes" } else { "no" });
        [self.what.clone(), measured, limit, verdict.to_owned()]
    }
}

/// A table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let head = [["what", "measured (median, min–max)", "at most", "ok?"], ["---"; 4]];
    let head = head.map(|cells| cells.map(str::to_owned));
    let lines = head.into_iter().chain(rows.iter().map(Row::cells)).map(|cells| format!("| {} |", cells.join(" | ")));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_judged_by_its_median() {
        let row = |taken| Row::new("x", "s", 1, Samples { taken, disturbed: 1 });
        for (row, measured, limit, verdict) in [
            (row(Vec::new()).at_most(1.0), "not measured", "1 s", "no"),
            (row(vec![3.0, 1.0, 2.0]).at_most(2.0), "2.0 s (1.0–3.0), 1 of 3 disturbed", "2 s", "yes"),
            (row(vec![0.5, 2.25]).at_most(1.3), "1.4 s (0.5–2.2), 1 of 2 disturbed", "1.3 s", "no"),
            (row(vec![9.0]), "9.0 s, 1 of 1 disturbed", "–", "–"),
            (Row::new("x", "s", 1, Samples::one(0.5)).at_most(0.5), "0.5 s", "0.5 s", "yes"),
        ] {
            assert_eq!(row.cells(), ["x", measured, limit, verdict]);
            assert_eq!(row.holds(), verdict != "no");
        }
        assert!(!Row::not_measured("x").holds());
    }
}
