//! The file of those who may ask: a line each, with name, role and how they are known.
//!
//! Tokens are not in it, only their SHA-256: a token is 256 random bits, so that nothing slower is
//! needed to keep it from being guessed (NIST SP 800-63B, 5.1.1.2 asks for that of passwords).

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::role::Role;

/// What every token begins with, by which scanners for secrets find it.
const TOKEN_MARK: &str = "rdr_";
/// Most lines: each is compared with every token that is shown.
const LINES_MAX: usize = 1000;
/// Longest name, in bytes.
const NAME_LEN_MAX: usize = 64;

/// Who may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    lines: Vec<Line>,
}

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub name: Arc<str>,
    pub role: Role,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    who: Who,
    proof: Proof,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    /// SHA-256 of the token.
    Token([u8; 32]),
    /// A name in a client certificate.
    Certificate(String),
}

impl Credentials {
    /// Reads a file's text: lines `NAME ROLE sha256:HEX` or `NAME ROLE cert:NAME IN CERTIFICATE`;
    /// empty ones and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// All mistakes, each with its line. Never empty.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let (mut lines, mut mistakes) = (Vec::new(), Vec::new());
        for (number, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match Line::parse(text).and_then(|line| line.beside(&lines)) {
                Ok(line) => lines.push(line),
                Err(mistake) => mistakes.push(format!("line {number}: {mistake}")),
            }
        }
        if lines.len() > LINES_MAX {
            mistakes.push(format!("{} lines are too many: at most {LINES_MAX}", lines.len()));
        }
        if lines.is_empty() && mistakes.is_empty() {
            let detail = "it names nobody: `redirector token new` makes a line for it";
            mistakes.push(detail.to_owned());
        }
        if mistakes.is_empty() { Ok(Self { lines }) } else { Err(mistakes) }
    }

    /// Whose token this is. How long it takes says nothing about tokens that are good.
    pub fn by_token(&self, token: &str) -> Option<Who> {
        let shown: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for line in &self.lines {
            let Proof::Token(hash) = &line.proof else { continue };
            if bool::from(hash.ct_eq(&shown)) {
                found = Some(line.who.clone());
            }
        }
        found
    }

    /// Who has a certificate with these names in it; of several lines the first.
    pub fn by_certificate(&self, names: &[String]) -> Option<Who> {
        let is_of = |line: &&Line| match &line.proof {
            Proof::Certificate(name) => names.contains(name),
            Proof::Token(_) => false,
        };
        self.lines.iter().find(is_of).map(|line| line.who.clone())
    }
}

impl Line {
    fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.splitn(3, char::is_whitespace).map(str::trim);
        let (Some(name), Some(role), Some(proof)) = (words.next(), words.next(), words.next())
        else {
            return Err("write NAME ROLE sha256:HEX, or NAME ROLE cert:NAME".to_owned());
        };
        check_name(name)?;
        let (kind, value) = proof.split_once(':').unwrap_or((proof, ""));
        let proof = match kind {
            "sha256" => Proof::Token(from_hex(value).ok_or("after sha256: come 64 hex digits")?),
            "cert" if !value.is_empty() => Proof::Certificate(value.to_owned()),
            _ => return Err("the third word is sha256:HEX or cert:NAME".to_owned()),
        };
        Ok(Self { who: Who { name: name.into(), role: role.parse()? }, proof })
    }

    /// This line, if it does not contradict those before it: nobody has two roles, and what is
    /// shown is one person's.
    fn beside(self, others: &[Self]) -> Result<Self, String> {
        let Who { name, role } = &self.who;
        if let Some(other) = others.iter().find(|other| other.proof == self.proof) {
            return Err(format!("{} has the same already: give each his own", other.who.name));
        }
        match others.iter().find(|other| other.who.name == *name && other.who.role != *role) {
            Some(other) => Err(format!("{name} is {} already: choose one role", other.who.role)),
            None => Ok(self),
        }
    }
}

/// Names are printed in the log and typed by people.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    if !name.is_empty() && name.len() <= NAME_LEN_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!("the name has 1 to {NAME_LEN_MAX} letters, digits and any of . _ @ -"))
}

/// A token that nobody has yet.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NewToken {
    /// What its holder shows.
    pub token: String,
    /// What the file of credentials says of it.
    pub line: String,
}

impl NewToken {
    /// Makes one.
    ///
    /// # Errors
    /// A name that cannot stand in the file, or no random numbers from the kernel; in words.
    pub fn new(name: &str, role: Role) -> Result<Self, String> {
        check_name(name)?;
        let mut secret = [0; 32];
        let failed = |error| format!("the kernel gives no random numbers: {error}");
        getrandom::fill(&mut secret).map_err(failed)?;
        let token = format!("{TOKEN_MARK}{}", to_hex(&secret));
        let line = format!("{name} {role} sha256:{}", to_hex(&Sha256::digest(&token)));
        Ok(Self { token, line })
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> String {
        Credentials::parse(text).expect_err(text).join("; ")
    }

    #[test]
    fn a_new_token_is_known_by_its_line_and_no_other_is() {
        let new = NewToken::new("anna", Role::Operator).expect("a token");
        let text = format!("# people\n\n{}\nbob viewer cert:Bob B.\n", new.line);
        let all = Credentials::parse(&text).expect("good lines");
        let who = all.by_token(&new.token).expect("it is known");
        assert_eq!((&*who.name, who.role), ("anna", Role::Operator));
        assert!(!text.contains(&new.token[TOKEN_MARK.len()..]), "the file has the token itself");
        for other in ["", "rdr_", &new.token[1..], &new.token.to_uppercase()] {
            assert_eq!(all.by_token(other), None, "{other}");
        }
        let bob = all.by_certificate(&["x".to_owned(), "Bob B.".to_owned()]);
        assert_eq!(bob.map(|who| who.role), Some(Role::Viewer));
        assert_eq!(all.by_certificate(&["Bob".to_owned()]), None);
    }

    #[test]
    fn two_tokens_differ() {
        let new = || NewToken::new("anna", Role::Admin).expect("a token").token;
        assert_ne!(new(), new());
    }

    #[test]
    fn every_wrong_line_is_named_with_what_to_write() {
        let hash = "0".repeat(64);
        for (text, said) in [
            ("", "it names nobody"),
            ("anna", "line 1: write NAME ROLE"),
            ("\nanna root cert:a", "line 2: `root` is no role: write viewer, operator or admin"),
            ("anna admin sha256:12", "64 hex digits"),
            ("anna admin sha1:12", "the third word is"),
            ("anna admin cert:", "the third word is"),
            ("an/na admin cert:a", "the name has 1 to 64"),
            ("anna admin cert:a\nanna viewer cert:b", "line 2: anna is admin already"),
        ] {
            assert!(mistakes(text).contains(said), "{text:?}: {}", mistakes(text));
        }
        let twice = format!("anna admin sha256:{hash}\nbob viewer sha256:{hash}");
        assert!(mistakes(&twice).contains("line 2: anna has the same already"));
        assert!(mistakes(&"x\n".repeat(3)).contains("line 3"), "all are named");
    }
}
