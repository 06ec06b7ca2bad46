//! DescribeConfigs: every option of a resource, set or not, its source, and its documentation.

use std::collections::HashSet;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::config::{self, ConfigOption, Layer, Scope, Setting, Values};
use protocol::metadata_records::ConfigResourceType;

use super::configs::{Refusal, WireResource, repeated, wire_source};
use super::{Broker, Request, RequestError};
use crate::controller::{check_existence, scope_of};
use crate::metadata::{ConfigResource, Image};

/// Larger requests are refused: each answer is far longer than the question.
const RESOURCES_MAX: usize = 10_000;

/// What the client asks for about each option.
#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
}

/// An option with its value (`None`: unset, or not to be shown) and its possible sources, the strongest first.
struct Described<'a> {
    option: &'static ConfigOption,
    value: Option<String>,
    layer: Layer,
    settings: Vec<Setting<'a>>,
}

impl Broker {
    pub(super) fn describe_configs(&self, request: &mut Request<'_>) -> Result<DescribeConfigsResponse, RequestError> {
        let body: DescribeConfigsRequest = request.decode()?;
        let detail = Detail { synonyms: body.include_synonyms, documentation: body.include_documentation };
        let named: Vec<_> = body.resources.iter().map(wire_resource).collect();
        let repeated = repeated(named.iter());
        // As in Kafka, an unknown type fails the whole request.
        let unknown = named.iter().find_map(|resource| resource.kind().err());
        let too_many =
            (RESOURCES_MAX < named.len()).then(|| Refusal::invalid(format!("more than {RESOURCES_MAX} resources")));
        let spoilt = unknown.or(too_many);
        let image = self.image.load_full();
        let results = body.resources.iter().zip(named).map(|(wanted, resource)| {
            let described = match &spoilt {
                Some(refusal) => Err(refusal.clone()),
                None if repeated.contains(&resource) => Err(Refusal::repeated()),
                None => self.describe(&image, &resource, wanted.configuration_keys.as_deref(), detail),
            };
            result(resource, described)
        });
        Ok(DescribeConfigsResponse::default().with_results(results.collect()))
    }

    fn describe(
        &self,
        image: &Image,
        resource: &WireResource,
        keys: Option<&[StrBytes]>,
        detail: Detail,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        let (kind, name) = (resource.kind()?, resource.name.as_str());
        if kind == ConfigResourceType::Broker && !name.is_empty() {
            self.check_addressee(name)?;
        }
        let resource = ConfigResource { kind, name: name.to_owned() };
        let scope = scope_of(&resource).map_err(|error| Refusal::of(&error))?;
        check_existence(image, &resource).map_err(|error| Refusal::of(&error))?;
        let broker = self.replicas.broker_values();
        let own = image.own_values(scope, &resource);
        let keys: Option<HashSet<_>> =
            keys.filter(|keys| !keys.is_empty()).map(|keys| keys.iter().map(StrBytes::as_str).collect());
        let is_wanted = |option: &&ConfigOption| keys.as_ref().is_none_or(|keys| keys.contains(option.name));
        let options = config::options(scope).filter(is_wanted);
        let described = options.filter_map(|option| match scope {
            Scope::Broker if name.is_empty() => of_all_brokers(&broker, option),
            Scope::Broker => Some(of_broker(&broker, option)),
            Scope::Topic | Scope::Group | Scope::ClientMetrics => of_own(&own, &broker, option),
        });
        Ok(described.map(|described| described.entry(scope, detail)).collect())
    }
}

fn wire_resource(resource: &DescribeConfigsResource) -> WireResource {
    WireResource { kind: resource.resource_type, name: resource.resource_name.clone() }
}

/// Only options set for all brokers, and only with that source.
fn of_all_brokers<'a>(broker: &'a Values, option: &'static ConfigOption) -> Option<Described<'a>> {
    let mut settings = config::broker_settings(broker, option);
    settings.retain(|setting| setting.layer == Layer::DynamicDefault);
    let set = settings.iter().find(|setting| setting.name == option.name)?;
    Some(Described { option, value: Some(set.raw.to_owned()), layer: Layer::DynamicDefault, settings })
}

fn of_broker<'a>(broker: &'a Values, option: &'static ConfigOption) -> Described<'a> {
    let settings = config::broker_settings(broker, option);
    let layer = settings.first().map_or(Layer::Default, |setting| setting.layer);
    Described { option, value: broker.raw(option.name).map(str::to_owned), layer, settings }
}

fn of_own<'a>(own: &'a Values, broker: &'a Values, option: &'static ConfigOption) -> Option<Described<'a>> {
    let effective = config::effective_value(own, broker, option.name)?;
    let settings = config::settings(own, broker, option);
    Some(Described { option, value: Some(effective.raw), layer: effective.layer, settings })
}

impl Described<'_> {
    fn entry(self, scope: Scope, detail: Detail) -> DescribeConfigsResourceResult {
        let option = self.option;
        let is_sensitive = option.kind.is_sensitive();
        let shown = |text: &str| (!is_sensitive).then(|| StrBytes::from_string(text.to_owned()));
        let synonym = |setting: &Setting<'_>| {
            DescribeConfigsSynonym::default()
                .with_name(StrBytes::from_static_str(setting.name))
                .with_value(shown(setting.raw))
                .with_source(wire_source(scope, setting.layer))
        };
        let synonyms = if detail.synonyms { self.settings.iter().map(synonym).collect() } else { Vec::new() };
        let documentation = detail.documentation.then(|| StrBytes::from_string(option.documentation()));
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(option.name))
            .with_value(self.value.as_deref().and_then(shown))
            .with_read_only(scope == Scope::Broker && option.is_read_only())
            .with_config_source(wire_source(scope, self.layer))
            .with_is_sensitive(is_sensitive)
            .with_synonyms(synonyms)
            .with_config_type(option.kind.code())
            .with_documentation(documentation)
    }
}

fn result(
    resource: WireResource,
    described: Result<Vec<DescribeConfigsResourceResult>, Refusal>,
) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default().with_resource_type(resource.kind).with_resource_name(resource.name);
    match described {
        Ok(configs) => result.with_error_message(None).with_configs(configs),
        Err(refusal) => result
            .with_error_code(refusal.error.code())
            .with_error_message(Some(StrBytes::from_string(refusal.message))),
    }
}

#[cfg(test)]
mod tests {
    use protocol::config::Kind;

    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let known = config::lookup(Scope::Broker, "broker.rack").unwrap();
        let option: &'static ConfigOption = Box::leak(Box::new(ConfigOption { kind: Kind::Password, ..*known }));
        let settings = vec![Setting { name: option.name, raw: "secret", layer: Layer::Static }];
        let described = Described { option, value: Some("secret".to_owned()), layer: Layer::Static, settings };
        let entry = described.entry(Scope::Broker, Detail { synonyms: true, documentation: true });
        assert!(entry.is_sensitive && entry.value.is_none());
        assert_eq!((entry.synonyms.len(), &entry.synonyms[0].value), (1, &None));
    }
}
