//! One line of the log of requests, as JSON or logfmt: a line whatever names hold.

use std::fmt::Write;

use super::access_log::Form;

/// The most characters of a text from a client that a line shows.
const TEXT_LENGTH_MAX: usize = 256;

/// A line as it grows.
#[derive(Debug)]
pub struct Line {
    text: String,
    form: Form,
}

impl Line {
    /// An empty one.
    pub fn new(form: Form) -> Self {
        Self { text: String::with_capacity(384), form }
    }

    /// Adds a text; what is longer than [`TEXT_LENGTH_MAX`] is cut, and ends in `…`.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name);
        let is_quoted = self.form == Form::Json || !is_plain(value);
        if is_quoted {
            self.text.push('"');
        }
        for (count, character) in value.chars().enumerate() {
            if count == TEXT_LENGTH_MAX {
                self.text.push('…');
                break;
            }
            self.character(character);
        }
        if is_quoted {
            self.text.push('"');
        }
        self
    }

    /// Adds a number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        let _ = write!(self.text, "{value}");
        self
    }

    /// Adds a time as milliseconds with their thousandths.
    pub fn milliseconds(&mut self, name: &str, microseconds: u128) -> &mut Self {
        self.name(name);
        let _ = write!(self.text, "{}.{:03}", microseconds / 1000, microseconds % 1000);
        self
    }

    /// Adds that something is so.
    pub fn mark(&mut self, name: &str) -> &mut Self {
        self.name(name);
        self.text.push_str("true");
        self
    }

    /// The line with its end.
    pub fn finish(mut self) -> String {
        self.text.push_str(if self.form == Form::Json { "}\n" } else { "\n" });
        self.text
    }

    fn name(&mut self, name: &str) {
        match self.form {
            Form::Json => {
                self.text.push(if self.text.is_empty() { '{' } else { ',' });
                let _ = write!(self.text, "\"{name}\":");
            }
            Form::Logfmt => {
                if !self.text.is_empty() {
                    self.text.push(' ');
                }
                let _ = write!(self.text, "{name}=");
            }
        }
    }

    /// Escapes as JSON does (RFC 8259, section 7), and besides whatever ends lines, moves a terminal's cursor or turns the direction of
    /// writing. logfmt has no standard; its readers take a quoted text as JSON's.
    fn character(&mut self, character: char) {
        match character {
            '"' => self.text.push_str("\\\""),
            '\\' => self.text.push_str("\\\\"),
            '\n' => self.text.push_str("\\n"),
            '\r' => self.text.push_str("\\r"),
            '\t' => self.text.push_str("\\t"),
            other if is_hidden(other) => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    let _ = write!(self.text, "\\u{unit:04x}");
                }
            }
            other => self.text.push(other),
        }
    }
}

/// Whether logfmt needs no quotes.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= TEXT_LENGTH_MAX
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/:+@,;*()[]".contains(&byte))
}

/// Control characters, separators of lines and paragraphs, marks of direction and joiners, and the mark of byte order.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(character, '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(form: Form, value: &str) -> String {
        let mut line = Line::new(form);
        line.text("key", value).number("status", 200).milliseconds("duration_ms", 1_002_003).mark("slow");
        line.finish()
    }

    #[test]
    fn a_plain_line_is_plain() {
        assert_eq!(line(Form::Logfmt, "a/b.txt"), "key=a/b.txt status=200 duration_ms=1002.003 slow=true\n");
        assert_eq!(line(Form::Json, "a/b.txt"), "{\"key\":\"a/b.txt\",\"status\":200,\"duration_ms\":1002.003,\"slow\":true}\n");
        assert_eq!(line(Form::Logfmt, ""), "key=\"\" status=200 duration_ms=1002.003 slow=true\n");
    }

    #[test]
    fn a_name_cannot_begin_another_field_or_line() {
        let hostile = "a\" status=500\r\n{\"x\":1}\t\\\u{0}\u{1b}[2J\u{85}\u{2028}\u{202e}\u{e0001} =é";
        let escaped = "\"a\\\" status=500\\r\\n{\\\"x\\\":1}\\t\\\\\\u0000\\u001b[2J\\u0085\\u2028\\u202e\\udb40\\udc01 =é\"";
        assert_eq!(line(Form::Logfmt, hostile), format!("key={escaped} status=200 duration_ms=1002.003 slow=true\n"));
        assert_eq!(
            line(Form::Json, hostile),
            format!("{{\"key\":{escaped},\"status\":200,\"duration_ms\":1002.003,\"slow\":true}}\n")
        );
    }

    #[test]
    fn a_long_text_is_cut() {
        let cut = line(Form::Logfmt, &"é".repeat(1_000));
        assert!(cut.starts_with(&format!("key=\"{}…\" status=", "é".repeat(TEXT_LENGTH_MAX))), "{cut}");
        let whole = line(Form::Logfmt, &"a".repeat(TEXT_LENGTH_MAX));
        assert!(whole.starts_with(&format!("key={} status=", "a".repeat(TEXT_LENGTH_MAX))), "{whole}");
    }
}
