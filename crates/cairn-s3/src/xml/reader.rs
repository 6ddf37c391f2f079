//! Reads the XML that clients send: small documents, strictly bounded. No document types, no entities but XML's own five and characters by
//! number, so that nothing expands and nothing is fetched.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use crate::error::{S3Error, code};

/// The deepest element of any S3 request lies at 6.
pub const DEPTH_MAX: usize = 8;
/// S3's requests need no attributes beside namespaces.
pub const ATTRIBUTES_MAX: usize = 8;
/// 10,000 parts with a number, an entity tag and up to 6 checksums.
pub const ELEMENTS_MAX: usize = 90_000;

/// An element. Namespaces and attributes are dropped: clients send S3's namespace, another one, or none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name without a prefix.
    pub name: String,
    /// Its own text, with spaces and line ends around dropped.
    pub text: String,
    /// The elements in it, in order.
    pub children: Vec<Element>,
}

impl Element {
    /// The first child of a name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of a name.
    #[must_use]
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// All children of a name.
    pub fn children_named(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

/// `MalformedXML`.
#[must_use]
pub fn malformed() -> S3Error {
    S3Error::new(&code::MALFORMED_XML)
}

/// Reads a document whose root has this name.
pub fn parse(document: &[u8], root: &str) -> Result<Element, S3Error> {
    let element = parse_any(document).ok_or_else(malformed)?;
    if element.name == root { Ok(element) } else { Err(malformed()) }
}

/// Reads a document; `None` for whatever is wrong with it.
fn parse_any(document: &[u8]) -> Option<Element> {
    // quick-xml reads bytes; that they are UTF-8 is for us to say.
    let document = std::str::from_utf8(document).ok()?;
    let document = document.strip_prefix('\u{feff}').unwrap_or(document);
    let mut reader = Reader::from_str(document);
    reader.config_mut().check_end_names = true;
    let mut open: Vec<Element> = Vec::with_capacity(DEPTH_MAX);
    let mut root: Option<Element> = None;
    let mut count = 0_usize;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                count += 1;
                if open.len() == DEPTH_MAX || count > ELEMENTS_MAX || root.is_some() {
                    return None;
                }
                open.push(begin(&start)?);
            }
            Event::Empty(start) => {
                count += 1;
                if open.len() == DEPTH_MAX || count > ELEMENTS_MAX || root.is_some() {
                    return None;
                }
                end(begin(&start)?, &mut open, &mut root);
            }
            Event::End(_) => {
                let element = open.pop()?;
                end(element, &mut open, &mut root);
            }
            Event::Text(text) => add_text(&text.decode().ok()?, &mut open)?,
            Event::CData(text) => add_text(&text.decode().ok()?, &mut open)?,
            Event::GeneralRef(reference) => {
                let mut buffer = [0; 4];
                add_text(resolve(&reference)?.encode_utf8(&mut buffer), &mut open)?;
            }
            Event::Decl(_) | Event::Comment(_) => {}
            Event::PI(_) | Event::DocType(_) => return None,
            Event::Eof => return if open.is_empty() { root } else { None },
        }
    }
}

fn begin(start: &BytesStart<'_>) -> Option<Element> {
    for (count, attribute) in start.attributes().enumerate() {
        if count == ATTRIBUTES_MAX {
            return None;
        }
        attribute.ok()?;
    }
    let name = std::str::from_utf8(start.local_name().into_inner()).ok()?.to_owned();
    Some(Element { name, ..Element::default() })
}

fn end(mut element: Element, open: &mut [Element], root: &mut Option<Element>) {
    let trimmed = element.text.trim_matches(|character| matches!(character, '\n' | '\r' | '\t'));
    // Spaces around a key are the key's own; what lies between elements is not.
    if !element.children.is_empty() || trimmed.trim().is_empty() && trimmed.len() != element.text.len() {
        element.text = String::new();
    } else if trimmed.len() != element.text.len() {
        element.text = String::from(trimmed);
    }
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn add_text(text: &str, open: &mut [Element]) -> Option<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character);
    }
    match &**reference {
        b"amp" => Some('&'),
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_are_read() {
        let document = r#"<?xml version="1.0"?><!-- c --><s:Delete xmlns:s="x">
            <Quiet>true</Quiet><Object><Key>a &amp; b&#x41;&lt;</Key></Object>
            <Object><Key><![CDATA[<&>]]></Key><VersionId/></Object></s:Delete>
        "#;
        let root = parse(document.as_bytes(), "Delete").unwrap();
        assert_eq!(root.child_text("Quiet"), Some("true"));
        let keys: Vec<_> = root.children_named("Object").map(|object| object.child_text("Key").unwrap()).collect();
        assert_eq!(keys, ["a & bA<", "<&>"]);
        assert_eq!(root.children[2].child_text("VersionId"), Some(""));
        assert_eq!(parse(b"<A><Key> a </Key></A>", "A").unwrap().child_text("Key"), Some(" a "));
        assert_eq!(parse(b"<A><Key>\n a\n</Key></A>", "A").unwrap().child_text("Key"), Some(" a"));
    }

    #[test]
    fn what_is_not_a_small_document_is_refused() {
        let deep = format!("{}{}", "<A>".repeat(DEPTH_MAX + 1), "</A>".repeat(DEPTH_MAX + 1));
        let attributes = (0..=ATTRIBUTES_MAX).fold(String::from("<A"), |text, number| format!("{text} a{number}='1'")) + "/>";
        let many = format!("<A>{}</A>", "<B/>".repeat(ELEMENTS_MAX));
        for bad in [
            "",
            " ",
            "A",
            "<A>",
            "<A></B>",
            "<A/><A/>",
            "<A/>x",
            "x<A/>",
            "<B/>",
            "<A>&bomb;</A>",
            "<A>&#0;</A>",
            "<A a='1' a='2'/>",
            "<!DOCTYPE A [<!ENTITY b 'c'>]><A>&b;</A>",
            "<!DOCTYPE A SYSTEM 'file:///etc/passwd'><A/>",
            "<?php ?><A/>",
            &deep,
            &attributes,
            &many,
        ] {
            assert!(parse(bad.as_bytes(), "A").is_err(), "{}", bad.chars().take(80).collect::<String>());
        }
        assert!(parse(b"<A>\xff</A>", "A").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, text in "(<[A-Za-z/!?]{0,3}>|&[a-z#0-9]{0,4};|[a-z ]|<!\\[CDATA\\[|\\]\\]>|<!--|-->){0,30}") {
            let _ = parse(&bytes, "A");
            let _ = parse(text.as_bytes(), "A");
        }

        #[test]
        fn what_is_written_is_read(key in "[^\u{0}-\u{1f}]{1,50}") {
            let mut writer = super::super::writer::XmlWriter::new(0);
            writer.open_root("A");
            writer.text("Key", &key);
            writer.close("A");
            let root = parse(&writer.finish(), "A").unwrap();
            prop_assert_eq!(root.child_text("Key"), Some(key.as_str()));
        }
    }
}
