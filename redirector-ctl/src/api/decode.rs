//! JSON bodies into wire types, with the path of the field that does not fit.

use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Reads a whole body as `T`. Unknown fields are refused by the types themselves.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        problem(&path, error.inner())
    })?;
    reader.end().map_err(|error| problem(".", &error))?;
    Ok(value)
}

fn problem(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if !error.is_data() {
        return Problem::malformed("malformed_json", format!("the body is not JSON: {text}"));
    }
    let parent = path.trim_matches('.');
    let field = match name_after("missing field `", &text) {
        Some(missing) if parent.is_empty() => missing.to_owned(),
        Some(missing) => format!("{parent}.{missing}"),
        None => parent.to_owned(),
    };
    let problem = Problem::malformed("bad_field", format!("the body does not fit: {text}"));
    if field.is_empty() { problem } else { problem.in_field(field) }
}

fn name_after<'t>(prefix: &str, text: &'t str) -> Option<&'t str> {
    text.strip_prefix(prefix)?.split('`').next()
}
