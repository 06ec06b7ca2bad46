use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader as TheirHeader};
use kafka_protocol::protocol::{Encodable, StrBytes, buf::ByteBufMut};

use super::*;
use crate::api::APIS;

fn received(parts: &[&[u8]]) -> BytesMut {
    BytesMut::from(&parts.concat()[..])
}

#[test]
fn frames_come_out_whole_and_in_order() {
    let mut buffer = received(&[&[0, 0, 0, 3], b"one", &[0, 0, 0, 0], &[0, 0, 0, 5], b"thr"]);
    assert_eq!(split(&mut buffer, 100).unwrap().unwrap(), "one");
    assert_eq!(split(&mut buffer, 100).unwrap().unwrap(), "");
    assert_eq!(split(&mut buffer, 100), Ok(None));
    buffer.put_slice(b"ee");
    assert_eq!(split(&mut buffer, 100).unwrap().unwrap(), "three");
    assert_eq!((split(&mut buffer, 100), buffer.len()), (Ok(None), 0));
}

const FRAME_BYTES_MAX: usize = 64 * 1024;

#[test]
fn the_length_is_judged_before_the_frame_is_there() {
    let cases = [
        (&[][..], Ok(None)),
        (&[0x7F, 0xFF, 0xFF], Ok(None)),
        (&[0, 1, 0, 0], Ok(Some(FRAME_BYTES_MAX))),
        (&[0, 1, 0, 1], Err(FrameError::TooLong { announced: 65_537, frame_bytes_max: 65_536 })),
        (&[0x7F, 0xFF, 0xFF, 0xFF], Err(FrameError::TooLong { announced: 0x7FFF_FFFF, frame_bytes_max: 65_536 })),
        (&[0xFF, 0xFF, 0xFF, 0xFF], Err(FrameError::Negative { announced: -1 })),
    ];
    for (bytes, expected) in cases {
        assert_eq!(announced(bytes, FRAME_BYTES_MAX), expected, "{bytes:02x?}");
        let mut buffer = BytesMut::from(bytes);
        assert_eq!(split(&mut buffer, FRAME_BYTES_MAX).err(), expected.err(), "{bytes:02x?}");
        assert_eq!(buffer, bytes, "nothing is taken of a frame that is not whole");
    }
}

#[test]
fn headers_of_every_version_served_are_read_as_the_codec_writes_them() {
    for api in APIS {
        for version in api.versions.first..=api.versions.last {
            for client_id in [None, Some("rdkafka")] {
                let header = TheirHeader::default()
                    .with_request_api_key(api.key_number())
                    .with_request_api_version(version)
                    .with_correlation_id(-7)
                    .with_client_id(client_id.map(StrBytes::from_static_str));
                let mut frame = BytesMut::new();
                header.encode(&mut frame, api.key().request_header_version(version)).unwrap();
                let body_offset = frame.offset();
                frame.put_slice(b"body");
                let read = RequestHeader::decode(&frame).unwrap();
                assert_eq!((read.api.name, read.api_version, read.correlation_id), (api.name, version, -7));
                assert_eq!((read.client_id, read.body_offset), (client_id, body_offset), "{} {version}", api.name);
            }
        }
    }
}

#[test]
fn headers_that_end_early_are_refused_at_every_byte() {
    let fetch = [0, 1, 0, 12, 0, 0, 0, 1, 0, 1, b'c', 1, 9, 2, 0, 0];
    assert_eq!(RequestHeader::decode(&fetch).map(|header| header.body_offset), Ok(16));
    for length in 0..fetch.len() {
        let error = RequestHeader::decode(&fetch[..length]).expect_err("half a header");
        assert!(matches!(error, HeaderError::Malformed(_)), "{length}: {error}");
    }
}

#[test]
fn headers_that_lie_are_refused() {
    let malformed = |fault: Fault, field, position| HeaderError::Malformed(fault.at(field, position));
    let too_short = |needed, remaining| Fault::TooShort { needed, remaining };
    let cases: &[(&[u8], HeaderError)] = &[
        (&[0, 4, 0, 7, 0, 0, 0, 1], HeaderError::UnknownApi { api_key: 4, api_version: 7 }),
        (&[0xFF, 0xFF, 0, 0], HeaderError::UnknownApi { api_key: -1, api_version: 0 }),
        (
            &[0, 0, 0, 2, 0, 0, 0, 1],
            HeaderError::UnsupportedVersion { name: "Produce", api_version: 2, served: Versions::between(3, 13) },
        ),
        (&[0, 3, 0, 0, 0, 0, 0, 1, 0x7F, 0xFF, b'c'], malformed(too_short(0x7FFF, 1), "client id", 8)),
        (&[0, 3, 0, 0, 0, 0, 0, 1, 0xFF, 0xFE], malformed(Fault::Negative(-2), "client id", 8)),
        (&[0, 3, 0, 0, 0, 0, 0, 1, 0, 1, 0xFF], HeaderError::ClientIdNotUtf8 { position: 8 }),
        (
            &[0, 3, 0, 9, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            malformed(Fault::VarintTooLong, "tagged fields", 10),
        ),
    ];
    for (frame, expected) in cases {
        assert_eq!(RequestHeader::decode(frame).map(|header| header.api.name), Err(*expected), "{frame:02x?}");
    }
}

#[test]
fn api_versions_is_read_in_any_version() {
    for (version, tags) in [(-1_i16, &[][..]), (2, &[]), (5, &[0]), (i16::MAX, &[0])] {
        let frame = [&[0, 18][..], &version.to_be_bytes(), &[0, 0, 0, 9, 0, 1, b'c'], tags].concat();
        let header = RequestHeader::decode(&frame).unwrap();
        assert_eq!((header.api.key(), header.correlation_id), (ApiKey::ApiVersions, 9));
        assert_eq!((header.api.serves(version), header.body_offset), (version == 2, frame.len()));
    }
}

#[test]
fn response_headers_have_tagged_fields_as_the_codec_expects() {
    for api in APIS {
        for version in api.versions.first..=api.versions.last {
            let mut buffer = BytesMut::new();
            put_response_header(&mut buffer, api, version, 0x0102_0304);
            let expected: &[u8] =
                if api.key().response_header_version(version) == 0 { &[1, 2, 3, 4] } else { &[1, 2, 3, 4, 0] };
            assert_eq!(buffer, expected, "{} {version}", api.name);
            assert_eq!(response_header_bytes(api, version), expected.len());
        }
    }
}
