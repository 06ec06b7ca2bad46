//! Bodies that no honest client sends, generated for each request from its schema: with an impossible value in the
//! place of each length or count.

use protocol::schema::{Field, Kind, Request};

/// A tag that no message of Kafka has.
const UNKNOWN_TAG: u8 = 100;

#[derive(Debug)]
pub struct Hostile {
    pub what: String,
    pub body: Vec<u8>,
}

/// Each of them must be refused.
pub fn bodies(request: &Request, version: i16) -> Vec<Hostile> {
    let writer = Writer::write(request, version);
    let mut hostile = Vec::new();
    for mark in &writer.marks {
        let before = &writer.body[..mark.position];
        for (what, length) in mark.form.impossible() {
            let what = format!("{:?} {version}: {} {what}", request.key, mark.name);
            hostile.push(Hostile { what, body: [before, length].concat() });
        }
        let what = format!("{:?} {version}: ends before {}", request.key, mark.name);
        hostile.push(Hostile { what, body: before.to_vec() });
    }
    hostile
}

/// An otherwise harmless body with a tagged field that occurs twice, if the version has tagged fields. Kafka accepts
/// it.
pub fn repeated_tag(request: &Request, version: i16) -> Option<Vec<u8>> {
    let writer = Writer::write(request, version);
    let last = writer.marks.last().filter(|mark| mark.form == Form::Tags)?;
    let tagged = [UNKNOWN_TAG, 1, 7];
    Some([&writer.body[..last.position], &[2], &tagged, &tagged].concat())
}

/// The encoding of a length or a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Int16,
    Int32,
    Compact,
    Tags,
}

impl Form {
    fn impossible(self) -> &'static [(&'static str, &'static [u8])] {
        match self {
            Self::Int16 => &[("of 32767", &[0x7F, 0xFF]), ("of -2", &[0xFF, 0xFE])],
            Self::Int32 => &[("of i32::MAX", &[0x7F, 0xFF, 0xFF, 0xFF]), ("of -2", &[0xFF, 0xFF, 0xFF, 0xFE])],
            Self::Compact | Self::Tags => &[
                ("of i32::MAX", &[0xFF, 0xFF, 0xFF, 0xFF, 0x07]),
                ("of u32::MAX", &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
                ("of more than 32 bits", &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
                ("without an end", &[0x80; 12]),
            ],
        }
    }
}

struct Mark {
    name: &'static str,
    position: usize,
    form: Form,
}

/// Writes a body with one element in each array and one letter in each text, and marks its lengths.
struct Writer {
    version: i16,
    flexible: bool,
    body: Vec<u8>,
    marks: Vec<Mark>,
}

impl Writer {
    fn write(request: &Request, version: i16) -> Self {
        let flexible = request.flexible.contains(version);
        let mut writer = Self { version, flexible, body: Vec::new(), marks: Vec::new() };
        writer.fields(request.fields);
        writer
    }

    fn fields(&mut self, fields: &[Field]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.versions.contains(version)) {
            if field.element_bytes.is_some() {
                self.length(field.name, Form::Int32);
            } else if matches!(field.kind, Kind::Struct(_)) && field.nullable.contains(version) {
                self.body.push(1);
            }
            self.value(field.name, field.kind);
        }
        if self.flexible {
            self.marks.push(Mark { name: "tagged fields", position: self.body.len(), form: Form::Tags });
            self.body.push(0);
        }
    }

    fn value(&mut self, name: &'static str, kind: Kind) {
        match (kind, kind.width()) {
            (Kind::Struct(fields), _) => self.fields(fields),
            (_, Some(width)) => self.body.resize(self.body.len() + width, 0),
            (kind, None) => {
                self.length(name, if matches!(kind, Kind::String) { Form::Int16 } else { Form::Int32 });
                self.body.push(b'a');
            }
        }
    }

    /// The length one, in the encoding of the version.
    fn length(&mut self, name: &'static str, plain: Form) {
        let form = if self.flexible { Form::Compact } else { plain };
        self.marks.push(Mark { name, position: self.body.len(), form });
        self.body.extend_from_slice(match form {
            Form::Int16 => &[0, 1],
            Form::Int32 => &[0, 0, 0, 1],
            Form::Compact | Form::Tags => &[2],
        });
    }
}

#[cfg(test)]
mod tests {
    use protocol::guard;

    use super::*;
    use crate::body::agree;
    use crate::codecs::each_version;

    #[test]
    fn the_guard_refuses_each_and_the_codec_is_never_asked_more_than_it_can() {
        for (codec, version) in each_version() {
            for Hostile { what, body } in bodies(codec.request, version) {
                assert!(!agree(codec, version, &body), "{what}");
            }
        }
    }

    #[test]
    fn a_repeated_tag_is_no_reason_to_refuse() {
        for (codec, version) in each_version() {
            let body = repeated_tag(codec.request, version);
            assert_eq!(body.is_some(), codec.request.flexible.contains(version));
            if let Some(body) = body {
                assert_eq!(guard::check(codec.request, version, &body), Ok(()), "{:?} {version}", codec.request.key);
                assert!(agree(codec, version, &body));
            }
        }
    }
}
