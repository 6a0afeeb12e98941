//! How bytes are written in these tests, so that one line is a packet in both versions:
//!
//! | written | stands for |
//! |---|---|
//! | `82 0001` | these bytes, in hexadecimal |
//! | `61x300` | the same bytes 300 times |
//! | `'text'` | the bytes of a text |
//! | `"text"` | a UTF-8 Encoded String: two bytes of length, then the text |
//! | `[ … ]` | two bytes of length, then what is inside |
//! | `@` | the Client Identifier of the row, as a UTF-8 Encoded String |
//! | `^` | the Protocol Version: 4 or 5 |
//! | `*` | the Remaining Length of what follows up to the end of the packet |
//! | `{ … }` | Property Length and properties; nothing in 3.1.1 |
//! | `( … )` | what is inside; nothing in 3.1.1 |
//! | `\|` | the end of a packet: another one follows |

use std::iter::Peekable;
use std::str::Chars;

use kedgemq::mqtt::Version;

/// Who writes the bytes.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) version: Version,
    pub(crate) client_id: &'a str,
}

impl Writer<'_> {
    /// The bytes that `text` stands for.
    pub(crate) fn bytes(self, text: &str) -> Vec<u8> {
        let mut chars = text.chars().peekable();
        let mut bytes = Vec::new();
        loop {
            bytes.extend(self.part(&mut chars));
            match chars.next() {
                None => return bytes,
                Some('|') => {}
                Some(other) => panic!("{other:?} closes nothing in {text}"),
            }
        }
    }

    /// Up to what closes it, which stays.
    fn part(self, chars: &mut Peekable<Chars<'_>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(&next) = chars.peek() {
            if matches!(next, '|' | '}' | ')' | ']') {
                break;
            }
            if next.is_ascii_hexdigit() {
                bytes.extend(hexadecimal(chars));
                continue;
            }
            chars.next();
            match next {
                ' ' => {}
                '\'' => bytes.extend(quoted(chars, '\'')),
                '"' => bytes.extend(with_length(&quoted(chars, '"'))),
                '@' => bytes.extend(with_length(self.client_id.as_bytes())),
                '^' => bytes.push(if self.version == Version::V5 { 5 } else { 4 }),
                '[' => bytes.extend(with_length(&self.inside(chars, ']'))),
                '(' => bytes.extend(self.of_v5(self.inside(chars, ')'))),
                '{' => bytes.extend(self.of_v5(with_variable(&self.inside(chars, '}')))),
                '*' => bytes.extend(with_variable(&self.part(chars))),
                other => panic!("{other:?} stands for nothing"),
            }
        }
        bytes
    }

    fn inside(self, chars: &mut Peekable<Chars<'_>>, close: char) -> Vec<u8> {
        let bytes = self.part(chars);
        assert_eq!(chars.next(), Some(close), "what was opened is closed");
        bytes
    }

    fn of_v5(self, bytes: Vec<u8>) -> Vec<u8> {
        if self.version == Version::V5 { bytes } else { Vec::new() }
    }
}

fn hexadecimal(chars: &mut Peekable<Chars<'_>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(high) = chars.next_if(char::is_ascii_hexdigit) {
        let low = chars.next().expect("two digits a byte");
        let digit = |digit: char| digit.to_digit(16).expect("hexadecimal digits") as u8;
        bytes.push(digit(high) << 4 | digit(low));
    }
    if chars.next_if_eq(&'x').is_none() {
        return bytes;
    }
    let mut times = String::new();
    times.extend(std::iter::from_fn(|| chars.next_if(char::is_ascii_digit)));
    bytes.repeat(times.parse().expect("a count follows x"))
}

fn quoted(chars: &mut Peekable<Chars<'_>>, quote: char) -> Vec<u8> {
    let mut text = String::new();
    text.extend(std::iter::from_fn(|| chars.next_if(|next| *next != quote)));
    assert_eq!(chars.next(), Some(quote), "what was opened is closed");
    text.into_bytes()
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes(), bytes].concat()
}

/// With a Variable Byte Integer in front.
fn with_variable(bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut all = Vec::new();
    while length >= 128 {
        all.push((length % 128 + 128) as u8);
        length /= 128;
    }
    all.push(length as u8);
    all.extend(bytes);
    all
}

#[test]
fn the_notation_stands_for_bytes() {
    let v5 = Writer { version: Version::V5, client_id: "me" };
    let v4 = Writer { version: Version::V311, ..v5 };
    let connect = r#"10 * "MQTT" ^ 02 003C { 21 0001 } @"#;
    assert_eq!(v5.bytes(connect), b"\x10\x12\0\x04MQTT\x05\x02\0\x3C\x03\x21\0\x01\0\x02me");
    assert_eq!(v4.bytes(connect), b"\x10\x0E\0\x04MQTT\x04\x02\0\x3C\0\x02me");
    assert_eq!(v5.bytes("62 * 0063 (92) | C000"), b"\x62\x03\0\x63\x92\xC0\0");
    assert_eq!(v4.bytes("62 * 0063 (92) | C000"), b"\x62\x02\0\x63\xC0\0");
    assert_eq!(v4.bytes("30 * [ 61x2 'b' ] 00x200")[..8], *b"\x30\xCD\x01\0\x03aab");
}
