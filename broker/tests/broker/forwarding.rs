//! Requests in envelopes, as another broker forwards them to the controller.

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, EnvelopeRequest, EnvelopeResponse, MetadataRequest,
};
use kafka_protocol::protocol::{Decodable as _, Request};

use crate::harness::Site;
use crate::harness::calls::name;
use crate::harness::wire::Wire;

const VERSION: i16 = 7;
const INVALID_REQUEST: i16 = 42;

fn creation(topic: &str) -> CreateTopicsRequest {
    let topic = CreatableTopic::default().with_name(name(topic)).with_num_partitions(1).with_replication_factor(1);
    CreateTopicsRequest::default().with_topics(vec![topic])
}

/// A client's request, without its length.
fn framed<R: Request>(version: i16, request: &R) -> Bytes {
    Bytes::from(Wire::encode_alone(77, version, request)).slice(4..)
}

fn forward(controller: &mut Wire, request: Bytes) -> EnvelopeResponse {
    let address = Bytes::from_static(&[127, 0, 0, 1]);
    controller.call(0, &EnvelopeRequest::default().with_request_data(request).with_client_host_address(address))
}

#[test]
fn a_clients_request_in_an_envelope_is_answered_as_the_client_expects() {
    let site = Site::new(&[]);
    let _broker = site.start();
    // Answered as soon as the broker is registered.
    Wire::connect(site.port).call(9, &MetadataRequest::default());
    let mut controller = Wire::connect(site.controller_port);
    let envelope = forward(&mut controller, framed(VERSION, &creation("forwarded")));
    assert_eq!(envelope.error_code, 0);
    let mut answer = envelope.response_data.unwrap();
    assert_eq!((answer.get_i32(), answer.get_u8()), (77, 0), "the client's correlation id, no tagged fields");
    let response = CreateTopicsResponse::decode(&mut answer, VERSION).unwrap();
    assert!(answer.is_empty());
    assert_eq!((response.topics[0].name.as_str(), response.topics[0].error_code), ("forwarded", 0));
}

#[test]
fn what_does_not_belong_in_an_envelope_is_refused_and_the_connection_goes_on() {
    let site = Site::new(&[]);
    let _broker = site.start();
    // Answered as soon as there is a controller.
    Wire::connect(site.port).call(9, &MetadataRequest::default());
    let mut controller = Wire::connect(site.controller_port);
    let nested = EnvelopeRequest::default().with_request_data(framed(VERSION, &creation("nested")));
    let mut not_text = BytesMut::from(&framed(VERSION, &creation("t\u{e9}"))[..]);
    let letter = not_text.iter().position(|byte| *byte == 0xC3).unwrap();
    not_text[letter] = 0xFF;
    let cases = [
        ("a request that any broker answers", framed(9, &MetadataRequest::default())),
        ("an envelope", framed(0, &nested)),
        ("half a header", Bytes::from_static(&[0, 19, 0])),
        ("an unknown API", Bytes::from_static(&[0x7F, 0xFF, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF])),
        ("a body cut off", framed(VERSION, &creation("cut")).slice(..20)),
        ("a name that is no text", not_text.freeze()),
    ];
    for (what, request) in cases {
        let envelope = forward(&mut controller, request);
        assert_eq!((envelope.error_code, envelope.response_data), (INVALID_REQUEST, None), "{what}");
    }
    assert_eq!(forward(&mut controller, framed(VERSION, &creation("after"))).error_code, 0);
}
