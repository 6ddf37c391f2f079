use proptest::prelude::*;

use super::*;

const BOUNDARY: &str = "xYzZY";

/// Reads a form in pieces of this size: the head and the file, or what is wrong. `None`: the form is not whole.
fn read(form: &[u8], piece: usize, head_bytes_max: usize) -> Result<Option<(FormHead, Vec<u8>)>, FormError> {
    let mut decoder = FormDecoder::new(BOUNDARY, head_bytes_max);
    let mut pieces = form.chunks(piece.max(1)).map(Bytes::copy_from_slice);
    let head = loop {
        let Some(piece) = pieces.next() else { return Ok(None) };
        if let Some(head) = decoder.head(piece)? {
            break head;
        }
    };
    let mut file = Vec::new();
    loop {
        match decoder.file()? {
            FileEvent::Data(bytes) => file.extend_from_slice(&bytes),
            FileEvent::End => return Ok(Some((head, file))),
            FileEvent::NeedsMore => match pieces.next() {
                Some(piece) => decoder.push(piece),
                None => return Ok(None),
            },
        }
    }
}

fn part(name: &str, more: &str, value: &str) -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n")
}

fn form(fields: &[(&str, &str)], file: &str) -> Vec<u8> {
    let fields: Vec<String> = fields.iter().map(|(name, value)| part(name, "", value)).collect();
    let file = part("file", "; filename=\"a b.txt\"\r\nContent-Type: text/plain", file);
    format!("{}{file}--{BOUNDARY}--\r\n", fields.concat()).into_bytes()
}

#[test]
fn a_form_is_read_whatever_the_pieces() {
    let bytes = form(&[("key", "a/${filename}"), ("empty", ""), ("lines", "one\r\n--two\r\n")], "hello\r\n--xYz world\r\n");
    for piece in 1..=bytes.len() {
        let (head, file) = read(&bytes, piece, 1000).unwrap().unwrap();
        let fields: Vec<(&str, &str)> = head.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("key", "a/${filename}"), ("empty", ""), ("lines", "one\r\n--two\r\n")]);
        assert_eq!((head.file_name.as_str(), file.as_slice()), ("a b.txt", &b"hello\r\n--xYz world\r\n"[..]));
    }
    assert_eq!(read(&form(&[], ""), 7, 1000).unwrap().unwrap().1, b"");
    // Fields behind the file mean nothing.
    let behind = [&form(&[], "x")[..], &form(&[("key", "late")], "y")].concat();
    assert_eq!(
        read(&behind, 9, 1000).unwrap().unwrap(),
        (FormHead { fields: Vec::new(), file_name: "a b.txt".into() }, b"x".to_vec())
    );
}

#[test]
fn a_file_that_breaks_off_has_no_end() {
    let bytes = form(&[("key", "k")], "hello");
    // All but the last line end, which nobody needs.
    let end = bytes.len() - b"\r\n".len();
    assert!(read(&bytes[..end], 5, 1000).unwrap().is_some());
    for length in 0..end {
        assert_eq!(read(&bytes[..length], 5, 1000), Ok(None), "{length}");
    }
}

#[test]
fn names_are_read_as_browsers_and_others_write_them() {
    let read_name = |headers: &str| disposition(headers.as_bytes()).map(|found| (found.name, found.file_name));
    let named = |name: &str, file: Option<&str>| Ok((name.to_owned(), file.map(str::to_owned)));
    for (headers, expected) in [
        ("Content-Disposition: form-data; name=\"a\"", named("a", None)),
        ("content-disposition:form-data;name=a;filename=b.txt", named("a", Some("b.txt"))),
        ("Content-Disposition: form-data; name=\"a;b=c\"; filename=\"d%22e\\\"f\\g\"", named("a;b=c", Some("d\"e\"f\\g"))),
        ("Content-Disposition: form-data; name=\"é\"; filename*=utf-8''x; filename=\"🪨\"", named("é", Some("🪨"))),
        ("X: y\r\nContent-Disposition: form-data; name=\"\"", named("", None)),
        ("Content-Disposition: form-data", Err(FormError::Malformed)),
        ("Content-Disposition: form-data; filename=\"a\"", Err(FormError::Malformed)),
        ("Content-Disposition: attachment; name=\"a\"", Err(FormError::Malformed)),
        ("Content-Disposition: form-data; name=\"a\"; name=\"b\"", Err(FormError::Malformed)),
        ("Content-Disposition: form-data; name=\"a\" b", Err(FormError::Malformed)),
        ("Content-Disposition: form-data; name=\"a", Err(FormError::Malformed)),
        ("Content-Type: text/plain", Err(FormError::Malformed)),
        ("nothing", Err(FormError::Malformed)),
        ("", Err(FormError::Malformed)),
    ] {
        assert_eq!(read_name(headers), expected, "{headers}");
    }
}

#[test]
fn what_is_no_form_is_refused_and_a_head_is_bounded() {
    for (bytes, expected) in [
        (&b"preamble\r\n--xYzZY\r\n"[..], FormError::Malformed),
        (b"--xYzZY--\r\n", FormError::NoFile),
        (b"--xYzZYz\r\n", FormError::Malformed),
        (b"--xYzZY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--xYzZY", FormError::Malformed),
        (b"--xYzZY\r\n\r\n\r\n\r\n", FormError::Malformed),
    ] {
        assert_eq!(read(bytes, 3, 1000), Err(expected), "{}", String::from_utf8_lossy(bytes));
    }
    let mut other = form(&[], "x");
    let at = other.len() - b"--\r\n".len();
    other[at] = b'z';
    assert_eq!(read(&other, 3, 1000), Err(FormError::Malformed), "a line that only begins as the boundary does");
    let value = "v".repeat(500);
    let bytes = form(&[("a", &value), ("b", &value)], &"f".repeat(5000));
    assert!(read(&bytes, 64, 1500).unwrap().is_some());
    for piece in [1, 64, 10_000] {
        assert_eq!(read(&bytes, piece, 900), Err(FormError::TooLong), "{piece}");
    }
}

#[test]
fn boundaries_are_read() {
    let boundary = |text: &str| boundary_of(text);
    assert_eq!(boundary("multipart/form-data; boundary=abc"), Some(Ok("abc".to_owned())));
    assert_eq!(boundary("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\""), Some(Ok("a b".to_owned())));
    for bad in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\u{e9}"] {
        assert_eq!(boundary(bad), Some(Err(FormError::Malformed)), "{bad}");
    }
    assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))), Some(Err(FormError::Malformed)));
    assert_eq!(boundary("application/x-www-form-urlencoded"), None);
}

proptest! {
    #[test]
    fn pieces_never_matter(
        text in "(--xYzZY|\r\n|--|Content-Disposition: form-data; name=|\"file\"|\"a\"|; filename=\"b\"|\r\n\r\n|[a-zé\"]{1,4}){0,24}",
        piece in 1_usize..40,
    ) {
        prop_assert_eq!(read(text.as_bytes(), piece, 200), read(text.as_bytes(), text.len().max(1), 200));
    }

    #[test]
    fn a_file_comes_out_as_it_went_in(file in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), any::<u8>()], 0..200), piece in 1_usize..60) {
        let mut bytes = part("key", "", "k").into_bytes();
        bytes.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n").as_bytes());
        bytes.extend_from_slice(&file);
        bytes.extend_from_slice(format!("\r\n--{BOUNDARY}--").as_bytes());
        prop_assert_eq!(read(&bytes, piece, 1000).unwrap().unwrap().1, file);
    }
}
