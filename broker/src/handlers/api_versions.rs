//! ApiVersions (KIP-35, KIP-511, KIP-584): the APIs this broker serves, and the cluster's feature levels.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::api::{self, Api};

use super::{Broker, Outcome, Request, RequestError};
use crate::controller::features;
use crate::peer::{CLIENT_SOFTWARE, Introduction};

impl Broker {
    pub(super) fn api_versions(&self, request: &mut Request<'_>) -> Result<ApiVersionsResponse, RequestError> {
        let body: ApiVersionsRequest = request.decode()?;
        if 3 <= request.version
            && !(is_software_word(&body.client_software_name) && is_software_word(&body.client_software_version))
        {
            return Ok(ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code()));
        }
        let kind = request.context.listener.kind;
        let api_keys = api::on(kind).map(advertised).collect();
        let image = self.image.load();
        let finalized = image.features.iter().map(|(name, level)| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_string(name.clone()))
                .with_min_version_level(*level)
                .with_max_version_level(*level)
        });
        let mut response = ApiVersionsResponse::default()
            .with_api_keys(api_keys)
            .with_supported_features(supported_features(request.version))
            .with_finalized_features_epoch(image.end_offset.0)
            .with_finalized_features(finalized.collect());
        if body.client_software_name.as_str() == CLIENT_SOFTWARE {
            self.introduction().write(&mut response.unknown_tagged_fields);
        }
        Ok(response)
    }

    fn introduction(&self) -> Introduction {
        Introduction {
            cluster: Some(self.identity.cluster_id.clone()),
            node: Some(self.config.broker_id),
            incarnation: Some(self.identity.incarnation_id),
        }
    }
}

/// Before version 4 a range that begins at 0 cannot be sent (KAFKA-17011).
fn supported_features(version: i16) -> Vec<SupportedFeatureKey> {
    features::SUPPORTED
        .iter()
        .filter(|feature| 4 <= version || 0 < feature.level_min)
        .map(|feature| {
            SupportedFeatureKey::default()
                .with_name(StrBytes::from_static_str(feature.name))
                .with_min_version(feature.level_min)
                .with_max_version(feature.level_max)
        })
        .collect()
}

/// The one request that is answered in a version that the client did not ask for: version 0, with the range of
/// ApiVersions alone, so that the client can ask again.
pub(super) fn unsupported_version(request: Request<'_>) -> Result<Outcome, RequestError> {
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(vec![advertised(request.api)]);
    Request { version: 0, ..request }.respond(&response)
}

fn advertised(api: &Api) -> ApiVersion {
    let versions = api.advertised();
    ApiVersion::default()
        .with_api_key(api.key_number())
        .with_min_version(versions.first)
        .with_max_version(versions.last)
}

/// KIP-511: letters and digits, with '-' and '.' in between.
fn is_software_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().next_back())
}
