//! Writes answers. Nothing gets between a text and its escaping: elements can only be written through here.

use std::fmt::Display;
use std::io::Write as _;

use bytes::Bytes;

/// S3's namespace.
pub const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// An XML document in the making.
pub struct XmlWriter {
    out: Vec<u8>,
}

impl XmlWriter {
    /// A document with a declaration, and room for so many bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity + 64);
        out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Self { out }
    }

    /// Begins the root element, in S3's namespace.
    pub fn open_root(&mut self, name: &str) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b" xmlns=\"");
        self.out.extend_from_slice(NAMESPACE.as_bytes());
        self.out.extend_from_slice(b"\">");
    }

    /// Begins an element.
    pub fn open(&mut self, name: &str) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    /// Ends an element.
    pub fn close(&mut self, name: &str) {
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    /// An element with a text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        self.escaped(text.as_bytes());
        self.close(name);
    }

    /// The text of the element that is open.
    pub fn content(&mut self, text: &str) {
        self.escaped(text.as_bytes());
    }

    /// An element with a text of bytes that are UTF-8.
    pub fn bytes(&mut self, name: &str, text: &[u8]) {
        self.open(name);
        self.escaped(text);
        self.close(name);
    }

    /// An element with a value whose text needs no escaping: numbers, booleans, ids.
    pub fn value(&mut self, name: &str, value: impl Display) {
        self.open(name);
        // Writing to memory does not fail.
        let _ = write!(self.out, "{value}");
        self.close(name);
    }

    /// An element with an entity tag in quotes.
    pub fn etag(&mut self, name: &str, etag: impl Display) {
        self.open(name);
        let _ = write!(self.out, "&quot;{etag}&quot;");
        self.close(name);
    }

    /// An element with a text, where there is one.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// The document.
    #[must_use]
    pub fn finish(self) -> Bytes {
        Bytes::from(self.out)
    }

    fn escaped(&mut self, text: &[u8]) {
        let mut plain_from = 0;
        for (at, byte) in text.iter().enumerate() {
            let escape: &[u8] = match byte {
                b'&' => b"&amp;",
                b'<' => b"&lt;",
                b'>' => b"&gt;",
                b'"' => b"&quot;",
                // Readers turn a plain one into a line feed. The other controls are not XML at all; AWS writes them so, and clients that have
                // such keys ask for `encoding-type=url`.
                b'\r' => b"&#13;",
                0..=8 | 11 | 12 | 14..=31 => &[],
                _ => continue,
            };
            self.out.extend_from_slice(text.get(plain_from..at).unwrap_or_default());
            if escape.is_empty() {
                let _ = write!(self.out, "&#{byte};");
            } else {
                self.out.extend_from_slice(escape);
            }
            plain_from = at + 1;
        }
        self.out.extend_from_slice(text.get(plain_from..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let mut writer = XmlWriter::new(0);
        writer.open_root("A");
        writer.text("Key", "a<b>&\"c\r\u{1}é");
        writer.value("Count", 3);
        writer.etag("ETag", "x");
        writer.optional("None", None);
        writer.close("A");
        let text = String::from_utf8(writer.finish().to_vec()).unwrap();
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<A xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Key>a&lt;b&gt;&amp;&quot;c&#13;&#1;é</Key>\
             <Count>3</Count><ETag>&quot;x&quot;</ETag></A>"
        );
    }
}
