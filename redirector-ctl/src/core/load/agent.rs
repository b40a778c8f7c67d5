//! An HAProxy agent-check line: what a server says of itself in words.
//!
//! Words between spaces, tabs and commas, up to the end of the line; what follows `#` is a comment
//! (HAProxy's configuration manual, section 5.2, `agent-check`). A percentage is the weight that
//! the server wishes for, so its load is what is missing to 100 %.

use super::Share;

/// Longest line, in bytes.
pub const LINE_LEN_MAX: usize = 512;

/// A word by which a server asks for nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It wants to become empty.
    Drain,
    /// It is under maintenance.
    Maint,
    /// It does not work: `down` or `fail`.
    Down,
    /// It was stopped.
    Stopped,
}

impl Closed {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Down => "down",
            Self::Stopped => "stopped",
        }
    }
}

/// What a line says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AgentLine {
    /// Load by the weight that it wishes for; None when it names none.
    pub share: Option<Share>,
    /// It asks for nothing new.
    pub closed: Option<Closed>,
}

impl AgentLine {
    /// Reads a line.
    ///
    /// # Errors
    /// When it has no word that is known here; in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LINE_LEN_MAX)]);
        let words = text.split(['\r', '\n', '#']).next().unwrap_or_default();
        let mut line = Self::default();
        let mut is_known = false;
        for word in words.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
            is_known |= line.take(&word.to_ascii_lowercase());
        }
        if is_known {
            return Ok(line);
        }
        let shown: String = words.chars().take(40).flat_map(char::escape_default).collect();
        Err(format!(
            "says \"{shown}\", in which there is no word of HAProxy's agent-check: a percentage, \
             up, ready, drain, maint, down, fail or stopped"
        ))
    }

    /// Takes one word in; whether it is known.
    fn take(&mut self, word: &str) -> bool {
        let closed = match word {
            "up" | "ready" => None,
            "drain" => Some(Closed::Drain),
            "maint" => Some(Closed::Maint),
            "down" | "fail" => Some(Closed::Down),
            "stopped" => Some(Closed::Stopped),
            _ => return self.take_weight(word),
        };
        self.closed = closed.or(self.closed);
        true
    }

    fn take_weight(&mut self, word: &str) -> bool {
        let digits = word.strip_suffix('%').filter(|digits| digits.len() <= 5);
        let weight = digits.and_then(|digits| digits.parse::<u32>().ok());
        let share = weight.and_then(|weight| Share::new(1.0 - f64::from(weight) / 100.0));
        self.share = share.or(self.share);
        share.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> (Option<f64>, Option<&'static str>) {
        let line = AgentLine::parse(line.as_bytes()).unwrap();
        (line.share.map(Share::get), line.closed.map(Closed::name))
    }

    #[test]
    fn a_weight_is_what_is_left_of_the_server() {
        assert_eq!(said("75%\n"), (Some(0.25), None));
        assert_eq!(said("100%"), (Some(0.0), None));
        assert_eq!(said("250%\r\n"), (Some(0.0), None));
        assert_eq!(said("0%\n"), (Some(1.0), None));
    }

    #[test]
    fn words_come_in_any_case_and_order() {
        assert_eq!(said("up 50%\n"), (Some(0.5), None));
        assert_eq!(said("READY,\tUp"), (None, None));
        assert_eq!(said("drain 20%\n"), (Some(0.8), Some("drain")));
        assert_eq!(said("maint"), (None, Some("maint")));
        assert_eq!(said("down # 50% is in a comment"), (None, Some("down")));
        assert_eq!(said("fail#x"), (None, Some("down")));
        assert_eq!(said("stopped\n75%\n"), (None, Some("stopped")));
    }

    #[test]
    fn what_is_no_agent_line_is_refused_in_words() {
        for line in ["", "\n", "hello", "-5%", "99999999%", "# up", "maxconn:30"] {
            let said = AgentLine::parse(line.as_bytes()).unwrap_err();
            assert!(said.contains("a percentage, up, ready"), "{line}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600),
        ) {
            let _ = AgentLine::parse(&bytes);
        }
    }
}
