//! A table of what was measured.

use super::samples::Samples;

/// One row of the table: what was measured, and what is promised.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) decimals: usize,
    pub(super) at_most: Option<f64>,
    pub(super) samples: Samples<f64>,
}

impl Row {
    /// Whether the median is within the promise.
    pub fn holds(&self) -> bool {
        self.at_most.is_none_or(|limit| self.samples.median() <= limit)
    }

    fn cells(&self) -> [String; 4] {
        let Self { unit, decimals, .. } = *self;
        let [least, median, most] = [self.samples.least(), self.samples.median(), self.samples.most()];
        let measured = format!("{median:.decimals$} {unit} ({least:.decimals$}–{most:.decimals$})");
        let measured = match self.samples.disturbed {
            _ if self.samples.taken.is_empty() => "not measured".to_owned(),
            0 => measured,
            count => format!("{measured}, {count} of {} disturbed", self.samples.taken.len()),
        };
        let limit = self.at_most.map_or_else(|| "–".to_owned(), |limit| format!("{limit} {unit}"));
        let verdict = self.at_most.map_or("–", |_| if self.holds() { "yes" } else { "no" });
        [self.what.to_owned(), measured, limit, verdict.to_owned()]
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
        let row = |taken, at_most| Row {
            what: "x",
            unit: "s",
            decimals: 1,
            at_most,
            samples: Samples { taken, disturbed: 1 },
        };
        let missing = Row { samples: Samples::none(), ..row(Vec::new(), Some(1.0)) };
        for (row, measured, limit, verdict) in [
            (missing, "not measured", "1 s", "no"),
            (row(vec![3.0, 1.0, 2.0], Some(2.0)), "2.0 s (1.0–3.0), 1 of 3 disturbed", "2 s", "yes"),
            (row(vec![0.5, 2.25], Some(1.3)), "1.4 s (0.5–2.2), 1 of 2 disturbed", "1.3 s", "no"),
            (row(vec![9.0], None), "9.0 s (9.0–9.0), 1 of 1 disturbed", "–", "–"),
        ] {
            assert_eq!(row.cells(), ["x", measured, limit, verdict]);
            assert_eq!(row.holds(), verdict != "no");
        }
    }
}
