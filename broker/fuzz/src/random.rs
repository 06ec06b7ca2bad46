//! Random bodies by the schemas, and mutations of them.

use protocol::schema::{Field, Kind, Request, Response};

/// SplitMix64: the same bodies in every run.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("smaller than `end`")
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// A valid body. Tagged fields are never null, empty or false: such defaults would not be encoded again.
pub fn body(random: &mut Random, request: &Request, version: i16) -> Vec<u8> {
    Writer::write(random, request.fields, version, request.flexible.contains(version))
}

/// A valid body of an answer.
pub fn response_body(random: &mut Random, response: &Response, version: i16) -> Vec<u8> {
    Writer::write(random, response.fields, version, response.flexible.contains(version))
}

struct Writer<'a> {
    random: &'a mut Random,
    version: i16,
    flexible: bool,
    body: Vec<u8>,
}

impl Writer<'_> {
    fn write(random: &mut Random, fields: &[Field], version: i16, flexible: bool) -> Vec<u8> {
        let mut writer = Writer { random, version, flexible, body: Vec::new() };
        writer.fields(fields);
        writer.body
    }

    fn fields(&mut self, fields: &[Field]) {
        let known = fields.iter().filter(|field| field.versions.contains(self.version));
        let (tagged, plain): (Vec<&Field>, Vec<&Field>) = known.partition(|field| field.tag.is_some());
        for field in plain {
            let null = field.nullable.contains(self.version) && self.random.one_in(6);
            self.field(field, null);
        }
        if self.flexible {
            self.tagged_fields(tagged);
        }
    }

    fn tagged_fields(&mut self, mut known: Vec<&Field>) {
        known.retain(|_| !self.random.one_in(4));
        let unknown = if self.random.one_in(6) { 1 + self.random.below(30) } else { 0 };
        self.varint(known.len() + unknown);
        for field in known {
            let outer = std::mem::take(&mut self.body);
            self.tagged_field(field);
            let value = std::mem::replace(&mut self.body, outer);
            self.tag(field.tag.map_or(0, |tag| tag as usize), &value);
        }
        for tag in 0..unknown {
            let value = vec![7; self.random.below(3)];
            self.tag(100 + tag, &value);
        }
    }

    fn tagged_field(&mut self, field: &Field) {
        match (field.element_bytes, field.kind) {
            (Some(_), kind) => {
                let count = 1 + self.random.below(3);
                self.length(4, Some(count));
                (0..count).for_each(|_| self.value(kind, false));
            }
            (None, Kind::Bool) => self.body.push(1),
            (None, _) => self.field(field, false),
        }
    }

    fn tag(&mut self, tag: usize, value: &[u8]) {
        self.varint(tag);
        self.varint(value.len());
        self.body.extend_from_slice(value);
    }

    fn field(&mut self, field: &Field, null: bool) {
        if field.element_bytes.is_some() {
            let count = self.random.below(4);
            self.length(4, (!null).then_some(count));
            for _ in 0..if null { 0 } else { count } {
                self.value(field.kind, false);
            }
            return;
        }
        if matches!(field.kind, Kind::Struct(_)) && field.nullable.contains(self.version) {
            self.body.push(if null { 0xFF } else { 1 });
        }
        self.value(field.kind, null);
    }

    fn value(&mut self, kind: Kind, null: bool) {
        match kind {
            Kind::Struct(fields) if !null => self.fields(fields),
            Kind::Struct(_) => {}
            Kind::Bool => self.body.push(u8::from(self.random.one_in(2))),
            Kind::String => self.text(2, null),
            Kind::Bytes | Kind::Records => self.text(4, null),
            number => {
                let width = number.width().expect("the others have none");
                let bytes: Vec<u8> = (0..width).map(|_| self.random.byte()).collect();
                self.body.extend_from_slice(&bytes);
            }
        }
    }

    fn text(&mut self, length_width: usize, null: bool) {
        let text = vec![b'a'; self.random.below(9)];
        self.length(length_width, (!null).then_some(text.len()));
        self.body.extend_from_slice(if null { &[] } else { &text });
    }

    fn length(&mut self, width: usize, length: Option<usize>) {
        match (self.flexible, length) {
            (true, length) => self.varint(length.map_or(0, |length| length + 1)),
            (false, None) => self.body.extend_from_slice(&[0xFF; 4][..width]),
            (false, Some(length)) => self.body.extend_from_slice(&length.to_be_bytes()[size_of::<usize>() - width..]),
        }
    }

    fn varint(&mut self, mut value: usize) {
        while 0x80 <= value {
            self.body.push(0x80 | low_byte(value & 0x7F));
            value >>= 7;
        }
        self.body.push(low_byte(value));
    }
}

fn low_byte(value: usize) -> u8 {
    value.to_le_bytes()[0]
}

/// Overwrites, inserts and deletes here and there.
pub fn mutate(random: &mut Random, body: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let position = random.below(body.len() + 1);
        match random.below(6) {
            0 => body.truncate(position),
            1 => drop(body.splice(position..position, [random.byte(), random.byte()])),
            2 => overwrite(body, position, &[0x7F, 0xFF, 0xFF, 0xFF]),
            3 => overwrite(body, position, &[0xFF, 0xFF, 0xFF, 0xFF, random.byte()]),
            4 => overwrite(body, position, &[[0x00, 0x01, 0x80, 0xFF][random.below(4)]]),
            _ => overwrite(body, position, &[random.byte()]),
        }
    }
}

fn overwrite(body: &mut [u8], position: usize, value: &[u8]) {
    for (old, new) in body.iter_mut().skip(position).zip(value) {
        *old = *new;
    }
}
