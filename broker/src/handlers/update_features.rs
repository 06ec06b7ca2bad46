//! UpdateFeatures (KIP-584): changes all of the levels or none.

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::StrBytes;

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::{Direction, FeatureUpdate};

/// First version in which a downgrade says whether it is safe.
const VERSION_WITH_DIRECTION: i16 = 1;
/// Last version with a result per feature, though they succeed or fail together.
const LAST_VERSION_WITH_RESULTS: i16 = 1;

impl Broker {
    pub(super) async fn update_features(
        &self,
        request: &mut Request<'_>,
    ) -> Result<UpdateFeaturesResponse, RequestError> {
        let body: UpdateFeaturesRequest = request.decode()?;
        let updates = body.feature_updates.iter().map(|update| feature_update(update, request.version));
        let error = match self.controller.update_features(updates.collect(), body.validate_only).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((error.code(), format!("nothing was updated: {error}"))),
            Err(error) => Some((error.code(), error.to_string())),
        };
        let response = UpdateFeaturesResponse::default();
        if let Some((code, message)) = error {
            return Ok(response.with_error_code(code).with_error_message(Some(StrBytes::from_string(message))));
        }
        let results = body
            .feature_updates
            .into_iter()
            .map(|update| UpdatableFeatureResult::default().with_feature(update.feature));
        let with_results = request.version <= LAST_VERSION_WITH_RESULTS;
        Ok(response.with_results(if with_results { results.collect() } else { Vec::new() }))
    }
}

fn feature_update(update: &FeatureUpdateKey, version: i16) -> FeatureUpdate {
    let direction = match update.upgrade_type {
        _ if version < VERSION_WITH_DIRECTION && update.allow_downgrade => Direction::Downgrade,
        _ if version < VERSION_WITH_DIRECTION => Direction::Upgrade,
        1 => Direction::Upgrade,
        2 | 3 => Direction::Downgrade,
        _ => Direction::Unknown,
    };
    FeatureUpdate { name: update.feature.to_string(), level: update.max_version_level, direction }
}
