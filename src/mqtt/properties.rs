//! The properties that a PUBLISH passes on: read one by one from the bytes that were checked when
//! they came, and written.

const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
const USER_PROPERTY: u8 = 0x26;

/// The properties in [`super::Message::properties`].
#[derive(Clone, Debug)]
pub struct PassedOn<'a> {
    rest: &'a [u8],
}

/// One property, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    /// Identifier and value.
    pub bytes: &'a [u8],
}

impl<'a> PassedOn<'a> {
    /// All of them, in their order.
    pub fn new(properties: &'a [u8]) -> Self {
        Self { rest: properties }
    }
}

impl<'a> Iterator for PassedOn<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let length = match *self.rest.first()? {
            PAYLOAD_FORMAT_INDICATOR => 2,
            USER_PROPERTY => {
                let name = field_length(self.rest.get(1..)?)?;
                1 + name + field_length(self.rest.get(1 + name..)?)?
            }
            // Content Type, Response Topic, Correlation Data.
            _ => 1 + field_length(self.rest.get(1..)?)?,
        };
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Property { bytes })
    }
}

impl<'a> Property<'a> {
    /// The name of a User Property.
    pub fn user_name(self) -> Option<&'a str> {
        if self.bytes[0] != USER_PROPERTY {
            return None;
        }
        let end = 1 + field_length(&self.bytes[1..])?;
        str::from_utf8(self.bytes.get(3..end)?).ok()
    }

    /// The value of a User Property.
    pub fn user_value(self) -> Option<&'a str> {
        let start = 3 + self.user_name()?.len() + 2;
        str::from_utf8(self.bytes.get(start..)?).ok()
    }
}

/// Writes a User Property. Name and value are cut to what its length fields can say.
pub fn append_user_property(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(USER_PROPERTY);
    for text in [name, value] {
        let text = cut(text);
        let length = u16::try_from(text.len()).expect("it was cut");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The length of a field with two bytes of length in front, these included.
fn field_length(bytes: &[u8]) -> Option<usize> {
    let length: [u8; 2] = bytes.get(..2)?.try_into().ok()?;
    Some(2 + usize::from(u16::from_be_bytes(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_as_they_were_written() {
        let mut bytes = vec![PAYLOAD_FORMAT_INDICATOR, 1, 0x03, 0, 2, b'c', b't'];
        append_user_property(&mut bytes, "name", "value");
        append_user_property(&mut bytes, "", "");
        let all: Vec<_> = PassedOn::new(&bytes).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all[2].user_name(), Some("name"));
        assert_eq!(all[2].user_value(), Some("value"));
        assert_eq!(all[3].user_name(), Some(""));
        assert_eq!(all[1].user_name(), None);
        assert_eq!(all.iter().map(|p| p.bytes.len()).sum::<usize>(), bytes.len());
    }
}
