//! Families of metrics in the making: a name, what it means, and its values.

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use redirector_common::response::bucket_end_ns;

use crate::daemon::{SPAN_BOUNDS_US, Spans};
use crate::platform::tables::Responses;

/// A page of metrics in the making.
#[derive(Default)]
pub(super) struct Page {
    families: Vec<MetricFamily>,
}

impl Page {
    /// A family whose values go up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        Family { page: self, family: family(name, help, MetricType::GAUGE), metrics: Vec::new() }
    }

    /// A family whose values only grow, until what they count begins anew.
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        Family { page: self, family: family(name, help, MetricType::COUNTER), metrics: Vec::new() }
    }

    /// How long something took, each time, in seconds.
    pub(super) fn spans(&mut self, name: &str, help: &str, spans: &Spans) {
        let mut histogram = Histogram::default();
        let mut cumulative = 0;
        let mut buckets = Vec::new();
        for (bound_us, len) in SPAN_BOUNDS_US.iter().zip(spans.classes) {
            cumulative += len;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(*bound_us));
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(spans.len);
        histogram.set_sample_sum(seconds(spans.sum_us));
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = family(name, help, MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        self.families.push(family);
    }

    /// How long answers took, of each of several, in seconds.
    pub(super) fn responses<'r>(
        &mut self,
        (name, help): (&str, &str),
        label_name: &str,
        all: impl Iterator<Item = (&'r str, &'r Responses)>,
    ) {
        let mut of = Family {
            page: self,
            family: family(name, help, MetricType::HISTOGRAM),
            metrics: Vec::new(),
        };
        for (value, responses) in all {
            let mut metric = Metric::from_label(vec![label((label_name, value))]);
            metric.set_histogram(histogram(responses));
            of.metrics.push(metric);
        }
    }

    /// The page in the text format.
    pub(super) fn text(self) -> String {
        let mut text = String::new();
        // It refuses families without a name or values, of which there are none here.
        if let Err(error) = TextEncoder::new().encode_utf8(&self.families, &mut text) {
            tracing::error!(%error, "the metrics cannot be written as text");
        }
        text
    }
}

/// Every fourth bucket is a bound here: the doublings.
fn histogram(responses: &Responses) -> Histogram {
    const PARTS: usize = 4;
    let (mut cumulative, mut buckets) = (0, Vec::new());
    for (row, of) in responses.buckets.chunks(PARTS).enumerate() {
        cumulative += of.iter().sum::<u64>();
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bucket_end_ns(row * PARTS + PARTS - 1) as f64 / 1e9);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    // What took longer than the last bound is in the last bucket too.
    buckets.pop();
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(responses.len());
    histogram.set_sample_sum(responses.sum_ns as f64 / 1e9);
    histogram
}

/// A family in the making; it is on the page when it goes, unless it has no values.
pub(super) struct Family<'p> {
    page: &'p mut Page,
    family: MetricFamily,
    metrics: Vec<Metric>,
}

impl Family<'_> {
    /// Its only value, without labels.
    pub(super) fn only(mut self, value: f64) {
        self.add(&[], value);
    }

    /// Adds a value.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = Metric::from_label(labels.iter().map(|pair| label(*pair)).collect());
        if self.family.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }
}

impl Drop for Family<'_> {
    fn drop(&mut self) {
        if !self.metrics.is_empty() {
            let mut family = std::mem::take(&mut self.family);
            family.set_metric(std::mem::take(&mut self.metrics));
            self.page.families.push(family);
        }
    }
}

fn family(name: &str, help: &str, kind: MetricType) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family
}

fn label((name, value): (&str, &str)) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

/// Microseconds in Prometheus' unit.
pub(super) fn seconds(us: u64) -> f64 {
    us as f64 / 1_000_000.0
}

/// A fact as Prometheus has it.
pub(super) fn flag(fact: bool) -> f64 {
    if fact { 1.0 } else { 0.0 }
}
