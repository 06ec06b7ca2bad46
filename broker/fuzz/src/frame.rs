//! A connection as a reactor sees it: frames are split off, their headers decoded, their bodies guarded and decoded.

use allocation_counter::measure;
use bytes::BytesMut;
use protocol::frame::{self, LENGTH_BYTES, RequestHeader};

use crate::body;
use crate::codecs::codec;

const FRAME_BYTES_MAX: usize = 64 * 1024;

pub fn run(input: &[u8]) {
    let mut received = BytesMut::from(input);
    loop {
        let before = received.len();
        let Ok(Some(frame)) = frame::split(&mut received, FRAME_BYTES_MAX) else { return };
        assert!(frame.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", frame.len());
        assert_eq!(before, LENGTH_BYTES + frame.len() + received.len(), "no byte is lost or made up");
        request(&frame);
    }
}

fn request(frame: &[u8]) {
    let mut decoded = None;
    let allocated = measure(|| decoded = RequestHeader::decode(frame).ok()).bytes_total;
    assert_eq!(allocated, 0, "a header is borrowed from its frame: {frame:02x?}");
    let Some(header) = decoded else { return };
    let body = frame.get(header.body_offset..).expect("the body begins within the frame");
    if !header.api.serves(header.api_version) {
        return;
    }
    let codec = codec(header.api.key_number()).expect("every API that is served has a codec");
    body::agree(codec, header.api_version, body);
}
