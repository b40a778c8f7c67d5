//! Where a server's figures come from: places that are asked, and what the packet path counts.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Signal;

/// Longest metrics URL, in bytes.
const URL_LEN_MAX: usize = 1024;
/// What a metrics URL looks like.
pub const METRICS_URL_FORM: &str =
    "a metrics URL; write one such as http://10.0.2.11:9100/metrics, with an address and a port";

/// Sources of figures about a server's load. Without any, its load is not known, and it takes no
/// device for load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSources {
    /// A node_exporter, or what speaks like one: processor, memory, disk and network pressure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_url: Option<MetricsUrl>,
    /// Where a line of HAProxy's agent-check is given to whoever connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_address: Option<SocketAddr>,
    /// Traffic that the server carries well, to it and from it, in bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_max: Option<u64>,
}

impl LoadSources {
    /// Signals that these sources promise, without which the server's load is not known.
    #[must_use]
    pub fn required(&self) -> Vec<Signal> {
        let metrics = self.metrics_url.iter().flat_map(|_| [Signal::Cpu, Signal::Memory]);
        let traffic = self.bytes_per_second_max.map(|_| Signal::Network);
        let agent = self.agent_address.map(|_| Signal::Agent);
        metrics.chain(traffic).chain(agent).collect()
    }

    /// What is wrong with them: the field, and what to do.
    pub fn flaws(&self) -> impl Iterator<Item = (&'static str, String)> {
        let is_nowhere =
            |at: &SocketAddr| at.port() == 0 || at.ip().is_unspecified() || at.ip().is_multicast();
        let agent = self.agent_address.filter(is_nowhere).map(|at| {
            let detail =
                format!("{at} is no place to connect to; write one such as 10.0.2.11:9999");
            ("agent_address", detail)
        });
        let url = self.metrics_url.as_ref().filter(|url| is_nowhere(&url.address)).map(|url| {
            let detail = format!("{url} is no place to connect to: it is not {METRICS_URL_FORM}");
            ("metrics_url", detail)
        });
        let traffic = self.bytes_per_second_max.filter(|max| *max == 0).map(|_| {
            let detail = "0 bytes a second is no server; write more, or leave it out";
            ("bytes_per_second_max", detail.to_owned())
        });
        url.into_iter().chain(agent).chain(traffic)
    }
}

/// Where a server's metrics are: HTTP, an address, a port and a path. No name, so that nothing has
/// to be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MetricsUrl {
    address: SocketAddr,
    path: String,
}

impl MetricsUrl {
    /// Host and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not {METRICS_URL_FORM}")]
pub struct BadMetricsUrl(String);

impl FromStr for MetricsUrl {
    type Err = BadMetricsUrl;

    fn from_str(text: &str) -> Result<Self, BadMetricsUrl> {
        let bad = || BadMetricsUrl(text.chars().take(80).collect());
        let rest = text.strip_prefix("http://").ok_or_else(bad)?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (address, path) = rest.split_at(slash);
        let address = address.parse().map_err(|_| bad())?;
        let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if text.len() > URL_LEN_MAX || !is_plain {
            return Err(bad());
        }
        let path = if path.is_empty() { "/metrics" } else { path }.to_owned();
        Ok(Self { address, path })
    }
}

impl TryFrom<String> for MetricsUrl {
    type Error = BadMetricsUrl;

    fn try_from(text: String) -> Result<Self, BadMetricsUrl> {
        text.parse()
    }
}

impl From<MetricsUrl> for String {
    fn from(url: MetricsUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for MetricsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metrics_url_has_an_address_a_port_and_a_path() {
        for (text, shown) in [
            ("http://10.0.2.11:9100/metrics", "http://10.0.2.11:9100/metrics"),
            ("http://10.0.2.11:9100", "http://10.0.2.11:9100/metrics"),
            ("http://[fd00::1]:9100/a?b=c", "http://[fd00::1]:9100/a?b=c"),
        ] {
            assert_eq!(text.parse::<MetricsUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn names_tls_and_nonsense_are_refused_in_words() {
        for text in [
            "https://10.0.2.11:9100/metrics",
            "http://nas:9100/metrics",
            "http://10.0.2.11/metrics",
            "http://u:p@10.0.2.11:9100/",
            "http://10.0.2.11:9100/a b",
            "http://10.0.2.11:9100/\r\nx: y",
            "10.0.2.11:9100",
        ] {
            let said = text.parse::<MetricsUrl>().unwrap_err().to_string();
            assert!(said.contains("write one such as http://"), "{said}");
        }
    }

    #[test]
    fn each_source_promises_its_signals() {
        let all = LoadSources {
            metrics_url: "http://10.0.2.11:9100".parse().ok(),
            agent_address: "10.0.2.11:9999".parse().ok(),
            bytes_per_second_max: Some(1),
        };
        use Signal::{Agent, Cpu, Memory, Network};
        assert_eq!(all.required(), [Cpu, Memory, Network, Agent]);
        assert_eq!(LoadSources::default().required(), []);
        assert_eq!(all.flaws().count(), 0);
    }

    #[test]
    fn places_where_nobody_can_be_are_flaws() {
        let bad = LoadSources {
            metrics_url: "http://0.0.0.0:9100".parse().ok(),
            agent_address: "10.0.2.11:0".parse().ok(),
            bytes_per_second_max: Some(0),
        };
        let fields: Vec<&str> = bad.flaws().map(|(field, _)| field).collect();
        assert_eq!(fields, ["metrics_url", "agent_address", "bytes_per_second_max"]);
    }
}
