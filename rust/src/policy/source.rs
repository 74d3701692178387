//! Where things are in a policy text: its statements, lines and columns, and what the crate says
//! about them.

use super::{DEPTH_MAX, STATEMENT_BYTES_MAX};
use miette::Diagnostic;
use std::ops::Range;

const MESSAGES_MAX: usize = 20;
const MESSAGE_BYTES_MAX: usize = 500;

/// Line and column of a byte offset, from 1; columns in characters.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// Lines of "name:LINE:COLUMN: message", at most MESSAGES_MAX.
pub struct Messages<'a> {
    name: &'static str,
    text: &'a str,
    lines: Vec<String>,
    left_out: usize,
}

impl<'a> Messages<'a> {
    pub fn new(name: &'static str, text: &'a str) -> Self {
        Messages { name, text, lines: Vec::new(), left_out: 0 }
    }

    pub fn add(&mut self, offset: Option<usize>, message: &str) {
        if self.lines.len() == MESSAGES_MAX {
            self.left_out += 1;
            return;
        }
        let message: String = message
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MESSAGE_BYTES_MAX)
            .collect();
        self.lines.push(match offset {
            Some(offset) => {
                let (line, column) = position(self.text, offset);
                format!("{}:{line}:{column}: {message}", self.name)
            }
            None => format!("{}: {message}", self.name),
        });
    }

    /// What the crate says, about a text that begins at `base`; `fallback` where it names no place.
    pub fn add_diagnostic(
        &mut self,
        base: usize,
        fallback: Option<usize>,
        diagnostic: &dyn Diagnostic,
    ) {
        let label = diagnostic.labels().and_then(|mut labels| labels.next());
        let offset = label.as_ref().map(|label| base + label.offset()).or(fallback);
        let mut message = diagnostic.to_string();
        if let Some(text) = label.as_ref().and_then(|label| label.label()) {
            message = format!("{message}: {text}");
        }
        if let Some(help) = diagnostic.help() {
            message = format!("{message} ({help})");
        }
        self.add(offset, &message);
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn text(mut self) -> String {
        if self.left_out > 0 {
            self.lines.push(format!("{}: and {} more", self.name, self.left_out));
        }
        self.lines.join("\n")
    }
}

/// Bytes of a text without strings and comments.
fn code(text: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    #[derive(PartialEq)]
    enum In {
        Code,
        Text,
        Escape,
        Comment,
    }
    let bytes = text.as_bytes();
    let mut state = In::Code;
    bytes.iter().enumerate().filter_map(move |(at, &byte)| {
        match (&state, byte) {
            (In::Code, b'"') => {
                state = In::Text;
                return Some((at, byte));
            }
            (In::Code, b'/') if bytes.get(at + 1) == Some(&b'/') => state = In::Comment,
            (In::Code, _) => return Some((at, byte)),
            (In::Text, b'\\') => state = In::Escape,
            (In::Text, b'"') => state = In::Code,
            (In::Escape, _) => state = In::Text,
            (In::Comment, b'\n') => state = In::Code,
            _ => {}
        }
        None
    })
}

/// The crates recurse with the nesting of what they read. Err: where it is too deep. `angles`: does
/// < open something, as in a schema's Set<Long>?
pub fn check_depth(text: &str, angles: bool) -> Result<(), usize> {
    let mut depth = 0usize;
    for (at, byte) in code(text) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'<' if angles => depth += 1,
            b'>' if angles => depth = depth.saturating_sub(1),
            b';' => depth = 0,
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(at);
        }
    }
    Ok(())
}

/// The statements of a policy text, each with its semicolon; what follows the last one, if it is
/// more than space and comments, as one more. Err: where one begins that is too long.
pub fn statements(text: &str) -> Result<Vec<Range<usize>>, usize> {
    let mut found = Vec::new();
    let mut begin = None;
    for (at, byte) in code(text) {
        if begin.is_none() && !byte.is_ascii_whitespace() {
            begin = Some(at);
        }
        if let (Some(first), b';') = (begin, byte) {
            found.push(first..at + 1);
            begin = None;
        }
    }
    found.extend(begin.map(|first| first..text.len()));
    match found.iter().find(|statement| statement.len() > STATEMENT_BYTES_MAX) {
        Some(statement) => Err(statement.start),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        assert_eq!(position("ab\ncé\u{1f600}x", 0), (1, 1));
        assert_eq!(position("ab\ncé\u{1f600}x", 3), (2, 1));
        assert_eq!(position("ab\ncé\u{1f600}x", 10), (2, 4));
        assert_eq!(position("ab", 99), (1, 3));
    }

    #[test]
    fn statements_end_at_semicolons_of_code() {
        let text = " // a;b\n@id(\"x;\\\";\") permit(p); // c\nforbid(q);\n // end;\n";
        let found = statements(text).unwrap();
        let texts: Vec<&str> = found.into_iter().map(|range| &text[range]).collect();
        assert_eq!(texts, ["@id(\"x;\\\";\") permit(p);", "forbid(q);"]);
        assert_eq!(statements("permit(p); forbid").unwrap(), [0..10, 11..17]);
        assert_eq!(statements("permit(p); \"open ;").unwrap(), [0..10, 11..18]);
    }

    #[test]
    fn length_and_depth_are_bounded() {
        let long = format!("permit(p);\n  permit({});", "a".repeat(STATEMENT_BYTES_MAX));
        assert_eq!(statements(&long), Err(13));
        assert_eq!(check_depth(&"(".repeat(DEPTH_MAX), false), Ok(()));
        assert_eq!(check_depth(&"(".repeat(DEPTH_MAX + 1), false), Err(DEPTH_MAX));
        assert_eq!(check_depth(&"Set<".repeat(DEPTH_MAX + 1), true), Err(4 * DEPTH_MAX + 3));
        assert_eq!(check_depth(&"a < b && ".repeat(DEPTH_MAX + 1), false), Ok(()));
        assert_eq!(check_depth(&format!("\"{}\"", "(".repeat(1000)), false), Ok(()));
    }
}
