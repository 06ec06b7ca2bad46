//! Writes samples in OpenMetrics text form.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelKey, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::{Latencies, Metric};

/// The value of a counter or gauge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(i64),
    Fraction(f64),
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::Whole(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Number {
    fn from(count: usize) -> Self {
        Self::from(count as u64)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Fraction(value)
    }
}

pub(crate) struct Exposition<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl<'a> Exposition<'a> {
    pub(crate) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self { encoder }
    }

    /// The only sample of a metric without labels.
    pub(crate) fn number(&mut self, metric: &'static Metric, value: impl Into<Number>) -> fmt::Result {
        number(&mut self.metric(metric)?, metric, value.into())
    }

    /// The only sample of a histogram without labels.
    pub(crate) fn latencies(&mut self, metric: &'static Metric, latencies: &Latencies) -> fmt::Result {
        histogram(&mut self.metric(metric)?, latencies)
    }

    /// All samples of a counter or gauge, each with the values of its labels.
    pub(crate) fn numbers<'v, const N: usize>(
        &mut self,
        metric: &'static Metric,
        samples: impl IntoIterator<Item = ([&'v str; N], Number)>,
    ) -> fmt::Result {
        let mut encoder = self.metric(metric)?;
        for (values, value) in samples {
            number(&mut encoder.encode_family(&Labels { names: metric.labels, values: &values })?, metric, value)?;
        }
        Ok(())
    }

    /// All samples of a histogram, each with the values of its labels.
    pub(crate) fn histograms<'v, const N: usize>(
        &mut self,
        metric: &'static Metric,
        samples: impl IntoIterator<Item = ([&'v str; N], &'v Latencies)>,
    ) -> fmt::Result {
        let mut encoder = self.metric(metric)?;
        for (values, latencies) in samples {
            histogram(&mut encoder.encode_family(&Labels { names: metric.labels, values: &values })?, latencies)?;
        }
        Ok(())
    }

    fn metric(&mut self, metric: &'static Metric) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)
    }
}

fn number(encoder: &mut MetricEncoder<'_>, metric: &Metric, value: Number) -> fmt::Result {
    match (metric.kind, value) {
        (MetricType::Counter, Number::Whole(value)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(&u64::try_from(value).unwrap_or(0), None)
        }
        (MetricType::Counter, Number::Fraction(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        (_, Number::Whole(value)) => encoder.encode_gauge(&value),
        (_, Number::Fraction(value)) => encoder.encode_gauge(&value),
    }
}

fn histogram(encoder: &mut MetricEncoder<'_>, latencies: &Latencies) -> fmt::Result {
    let buckets = latencies.buckets();
    encoder.encode_histogram::<NoLabelSet>(latencies.sum_seconds(), latencies.count(), &buckets, None)
}

struct Labels<'a> {
    names: &'a [&'a str],
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        debug_assert_eq!(self.names.len(), self.values.len(), "{:?} {:?}", self.names, self.values);
        for (name, value) in self.names.iter().zip(self.values) {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            EncodeLabelKey::encode(name, &mut key)?;
            let mut encoder = key.encode_label_value()?;
            EncodeLabelValue::encode(value, &mut encoder)?;
            encoder.finish()?;
        }
        Ok(())
    }
}
