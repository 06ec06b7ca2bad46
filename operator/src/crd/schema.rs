//! The schemas that cannot be derived: bounded maps, quantities, and objects checked elsewhere.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Kubernetes' own grammar of quantities.
const QUANTITY_PATTERN: &str = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]+))?$";

pub(super) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": QUANTITY_PATTERN,
        "maxLength": 32,
    })
}

pub(super) fn quantities(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": quantity(generator),
    })
}

/// Values of any type: a structural schema cannot say "string, number or boolean". Lists and objects are refused
/// in `validate`, by name.
pub(super) fn scalars(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 256,
        "additionalProperties": { "x-kubernetes-preserve-unknown-fields": true },
    })
}

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    string_map(64, 63)
}

pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    string_map(64, 16_384)
}

fn string_map(properties_max: u32, value_length_max: u32) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": properties_max,
        "additionalProperties": { "type": "string", "maxLength": value_length_max },
    })
}

pub(super) fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// Kubernetes' standard conditions, one of each type.
pub(super) struct Conditions;

impl JsonSchema for Conditions {
    fn schema_name() -> Cow<'static, str> {
        "Conditions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "maxItems": 16,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status", "reason", "message", "lastTransitionTime"],
                "properties": {
                    "type": { "type": "string", "maxLength": 316 },
                    "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                    "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
                    "message": { "type": "string", "maxLength": 32_768 },
                    "lastTransitionTime": { "type": "string", "format": "date-time" },
                    "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                },
            },
        })
    }
}
