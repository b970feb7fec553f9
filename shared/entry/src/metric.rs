//! Metrics without a call: CloudWatch takes them out of log lines that are in its Embedded Metric Format,
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//! On Lambda such a line on standard output is enough.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::log::{Level, Log};

/// The namespace of Keyturn's metrics.
const NAMESPACE: &str = "Keyturn";

/// Something that is counted or measured.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name; no field of the line has it.
    pub name: &'static str,
    /// CloudWatch's name of the unit: `Count`, or `None` where the metric's name says it.
    pub unit: &'static str,
    /// Fields of the line that it is counted by, each alone, besides altogether. They must be there and be text, and
    /// have few values: CloudWatch takes each value for a metric of its own.
    pub by: &'static [&'static str],
}

impl Metric {
    /// Something that is counted when it happens.
    #[must_use]
    pub const fn count(name: &'static str, by: &'static [&'static str]) -> Self {
        Self { name, unit: "Count", by }
    }
}

impl Log {
    /// Writes one line, with a figure for a metric; 1 counts it.
    pub fn measure<F: Serialize>(
        &self,
        level: Level,
        timestamp: Timestamp,
        message: &'static str,
        fields: &F,
        metric: Metric,
        figure: impl Into<Value>,
    ) {
        self.measure_all(level, timestamp, message, fields, &[(metric, figure.into())]);
    }

    /// [`Log::measure`] with several figures on one line.
    pub fn measure_all<F: Serialize>(
        &self,
        level: Level,
        timestamp: Timestamp,
        message: &'static str,
        fields: &F,
        figures: &[(Metric, Value)],
    ) {
        #[derive(Serialize)]
        struct Measured<'a, F> {
            #[serde(flatten)]
            fields: &'a F,
            #[serde(flatten)]
            embedded: Map<String, Value>,
        }
        let embedded = embedded(figures, timestamp);
        self.write(level, timestamp, message, &Measured { fields, embedded });
    }
}

/// What makes a line one of that format.
fn embedded(figures: &[(Metric, Value)], timestamp: Timestamp) -> Map<String, Value> {
    let altogether: &[&str] = &[];
    let metrics: Vec<Value> = figures
        .iter()
        .map(|(metric, _)| {
            let dimensions: Vec<&[&str]> = [altogether].into_iter().chain(metric.by.chunks(1)).collect();
            json!({
                "Namespace": NAMESPACE,
                "Dimensions": dimensions,
                "Metrics": [{"Name": metric.name, "Unit": metric.unit}],
            })
        })
        .collect();
    let metadata = json!({"Timestamp": timestamp.as_millisecond(), "CloudWatchMetrics": metrics});
    let figures = figures.iter().map(|(metric, figure)| (metric.name.to_owned(), figure.clone()));
    [("_aws".to_owned(), metadata)].into_iter().chain(figures).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Serialize)]
    struct Fields {
        door: &'static str,
    }

    #[test]
    fn a_counted_line_is_one_line_in_cloudwatchs_format() {
        static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        let log = Log { level: Level::Warn, sink: |line| LINES.lock().unwrap().extend_from_slice(line) };
        let now = Timestamp::from_millisecond(1_574_109_732_004).unwrap();
        let opened = Metric::count("Opened", &["door"]);
        log.measure(Level::Warn, now, "opened", &Fields { door: "front" }, opened, 1);
        log.measure(Level::Info, now, "opened", &Fields { door: "back" }, opened, 1);

        let text = String::from_utf8(LINES.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap();
        let expected = json!({
            "timestamp": "2019-11-18T20:42:12.004Z",
            "level": "WARN",
            "message": "opened",
            "door": "front",
            "_aws": {
                "Timestamp": 1_574_109_732_004_u64,
                "CloudWatchMetrics": [{
                    "Namespace": "Keyturn",
                    "Dimensions": [[], ["door"]],
                    "Metrics": [{"Name": "Opened", "Unit": "Count"}],
                }],
            },
            "Opened": 1,
        });
        assert_eq!(line, expected);
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn what_is_counted_by_nothing_is_one_metric() {
        let opened = (Metric::count("Opened", &[]), 1.into());
        let metadata = &embedded(&[opened], Timestamp::UNIX_EPOCH)["_aws"];
        assert_eq!(metadata["CloudWatchMetrics"][0]["Dimensions"], json!([[]]));
    }

    #[test]
    fn several_figures_share_a_line() {
        let figures = [
            (Metric::count("Opened", &["door"]), 3.into()),
            (Metric { name: "OpenFor", unit: "Seconds", by: &[] }, 1.5.into()),
        ];
        let line = embedded(&figures, Timestamp::UNIX_EPOCH);
        assert_eq!((&line["Opened"], &line["OpenFor"]), (&json!(3), &json!(1.5)));
        let metrics = &line["_aws"]["CloudWatchMetrics"];
        assert_eq!(metrics[0]["Metrics"], json!([{"Name": "Opened", "Unit": "Count"}]));
        assert_eq!(metrics[1]["Metrics"], json!([{"Name": "OpenFor", "Unit": "Seconds"}]));
        assert_eq!(
            (&metrics[0]["Dimensions"], &metrics[1]["Dimensions"]),
            (&json!([[], ["door"]]), &json!([[]]))
        );
    }
}
