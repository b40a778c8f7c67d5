//! Reads TOML values field by field and goes on after a mistake; serde would stop at the first.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::problem::Report;
use crate::core::ports::{BadPortRange, PortRange};

/// Names closer than this are offered as "did you mean".
const LIKENESS_MIN: f64 = 0.75;

/// One table of the file. Every field is asked for once; [`Section::finish`] reports what is left.
pub(super) struct Section<'i> {
    table: DeTable<'i>,
    path: String,
    known: Vec<&'static str>,
}

impl<'i> Section<'i> {
    /// The file itself.
    pub fn root(table: DeTable<'i>) -> Self {
        Self { table, path: String::new(), known: Vec::new() }
    }

    /// Path of the field `key` of this table.
    pub fn field(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The table `key`; an empty one if it is absent.
    pub fn section(&mut self, key: &'static str, report: &mut Report<'_>) -> Section<'i> {
        let path = self.field(key);
        let table = match self.take(key, report) {
            None => DeTable::new(),
            Some(value) => table_of(value, &path, report).unwrap_or_default(),
        };
        Section { table, path, known: Vec::new() }
    }

    /// Whether `key` is there and is a table. Does not count as asking for it.
    pub fn has_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// The table `key`, if it is there and is one.
    pub fn inline_table(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Section<'i>> {
        let path = self.field(key);
        let table = table_of(self.take(key, report)?, &path, report)?;
        Some(Section { table, path, known: Vec::new() })
    }

    /// The tables `[[key]]`, in their order.
    pub fn sections(&mut self, key: &'static str, report: &mut Report<'_>) -> Vec<Section<'i>> {
        let path = self.field(key);
        let Some(value) = self.take(key, report) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            let found = article(&value);
            report.problem(&path, format!("must be written as [[{key}]], this is {found}"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            report.place(&path, item.span());
            let table = table_of(item.into_inner(), &path, report).unwrap_or_default();
            sections.push(Section { table, path, known: Vec::new() });
        }
        sections
    }

    /// A text, as it stands.
    pub fn string(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        let field = self.field(key);
        text_of(self.take(key, report)?, &field, report)
    }

    /// A text that `T` can be made from; `expected` says what such a text looks like.
    pub fn parsed<T: FromStr>(
        &mut self,
        key: &'static str,
        expected: &str,
        report: &mut Report<'_>,
    ) -> Option<T> {
        let text = self.string(key, report)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            report.problem(&self.field(key), format!("`{text}` is not {expected}"));
        }
        parsed
    }

    /// One of a few words.
    pub fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        report: &mut Report<'_>,
    ) -> Option<T> {
        let text = self.string(key, report)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let detail = format!("`{text}` is unknown; write one of: {}", names.join(", "));
            report.problem(&self.field(key), detail);
        }
        found
    }

    /// A whole number within `range`.
    pub fn number<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
        report: &mut Report<'_>,
    ) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let value = self.take(key, report)?;
        number_of(&value, (&self.field(key), &range), report)
    }

    /// A whole number within `range`, or a list of such. What is none is reported, and then there
    /// is no list.
    pub fn numbers<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
        report: &mut Report<'_>,
    ) -> Option<Vec<T>>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let field = self.field(key);
        match self.take(key, report)? {
            DeValue::Array(items) => {
                let items = items.into_iter().enumerate();
                let numbers: Vec<Option<T>> = items
                    .map(|(n, item)| {
                        let field = format!("{field}[{n}]");
                        report.place(&field, item.span());
                        number_of(item.get_ref(), (&field, &range), report)
                    })
                    .collect();
                numbers.into_iter().collect()
            }
            value => number_of(&value, (&field, &range), report).map(|number| vec![number]),
        }
    }

    /// A list of ports and ranges of ports, as texts or numbers. What is none is reported and left
    /// out.
    pub fn port_ranges(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Vec<PortRange>> {
        let field = self.field(key);
        let value = self.take(key, report)?;
        let DeValue::Array(items) = value else {
            let found = article(&value);
            let detail = format!("must be a list such as [3260, \"860-870\"], this is {found}");
            report.problem(&field, detail);
            return None;
        };
        let mut ranges = Vec::new();
        for (n, item) in items.into_iter().enumerate() {
            let field = format!("{field}[{n}]");
            report.place(&field, item.span());
            let read: Result<PortRange, String> = match item.get_ref() {
                DeValue::String(text) => text.parse().map_err(|bad: BadPortRange| bad.to_string()),
                DeValue::Integer(digits) if digits.radix() == 10 => {
                    digits.as_str().parse().map_err(|bad: BadPortRange| bad.to_string())
                }
                other => Err(format!(
                    "must be a port or a range such as \"860-870\", this is {}",
                    article(other)
                )),
            };
            match read {
                Ok(range) => ranges.push(range),
                Err(detail) => report.problem(&field, detail),
            }
        }
        Some(ranges)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<bool> {
        let field = self.field(key);
        let value = self.take(key, report)?;
        let boolean = value.as_bool();
        if boolean.is_none() {
            let detail = format!("must be true or false, this is {}", article(&value));
            report.problem(&field, detail);
        }
        boolean
    }

    /// A list of texts. What is not a text is reported and left out.
    pub fn strings(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Vec<String>> {
        let field = self.field(key);
        let value = self.take(key, report)?;
        let DeValue::Array(items) = value else {
            let detail =
                format!("must be a list such as [\"a\", \"b\"], this is {}", article(&value));
            report.problem(&field, detail);
            return None;
        };
        let mut texts = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let field = format!("{field}[{index}]");
            report.place(&field, item.span());
            texts.extend(text_of(item.into_inner(), &field, report));
        }
        Some(texts)
    }

    /// Reports that `key` must be there, unless it is there and only wrong.
    pub fn require<T>(
        &self,
        key: &'static str,
        value: Option<T>,
        remedy: &str,
        report: &mut Report<'_>,
    ) -> Option<T> {
        let field = self.field(key);
        let known = report.has_problem_at(&self.path) || report.has_problem_in(&field);
        if value.is_none() && !known {
            report.problem(&field, format!("is missing; {remedy}"));
        }
        value
    }

    /// Reports the fields that nobody asked for.
    pub fn finish(self, report: &mut Report<'_>) {
        for (key, value) in &self.table {
            let field = self.field(key.get_ref());
            let span = if value.get_ref().is_table() { value.span() } else { key.span() };
            report.place(&field, span);
            report.problem(&field, unknown_key(key.get_ref(), &self.known));
        }
    }

    fn take(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<DeValue<'i>> {
        self.known.push(key);
        let (name, value) = self.table.remove_entry(key)?;
        // The key of a table with a header of its own stands in that header.
        report.place(&self.field(key), name.span());
        Some(value.into_inner())
    }
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let likeness = |name: &&&str| strsim::jaro_winkler(name, key);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best.filter(|name| likeness(name) >= LIKENESS_MIN) {
        Some(name) => format!("is not known here; did you mean `{name}`?"),
        None => format!("is not known here; remove it (known: {})", known.join(", ")),
    }
}

fn table_of<'i>(value: DeValue<'i>, path: &str, report: &mut Report<'_>) -> Option<DeTable<'i>> {
    match value {
        DeValue::Table(table) => Some(table),
        other => {
            report.problem(path, format!("must be a table, this is {}", article(&other)));
            None
        }
    }
}

fn number_of<T>(
    value: &DeValue<'_>,
    (field, range): (&str, &RangeInclusive<T>),
    report: &mut Report<'_>,
) -> Option<T>
where
    T: TryFrom<i64> + PartialOrd + Display + Copy,
{
    let bounds = format!("a whole number from {} to {}", range.start(), range.end());
    let DeValue::Integer(digits) = value else {
        report.problem(field, format!("must be {bounds}, this is {}", article(value)));
        return None;
    };
    let number = i64::from_str_radix(digits.as_str(), digits.radix())
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| range.contains(number));
    if number.is_none() {
        report.problem(field, format!("{digits} is out of range; write {bounds}"));
    }
    number
}

fn text_of(value: DeValue<'_>, field: &str, report: &mut Report<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.into_owned()),
        other => {
            let detail = format!("must be a text in quotes, this is {}", article(&other));
            report.problem(field, detail);
            None
        }
    }
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
