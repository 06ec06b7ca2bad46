//! Configurations and features.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as IncrementalResource, AlterableConfig as IncrementalConfig,
};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;

use super::{Request, Versions, bool, int8, int8s, int16, int32, string, strings, structs};

pub static DESCRIBE_CONFIGS: Request = Request {
    key: ApiKey::DescribeConfigs,
    versions: Versions::between(1, 4),
    flexible: Versions::since(4),
    fields: &[
        structs::<DescribeConfigsResource>("Resources").of(&[
            int8("ResourceType"),
            string("ResourceName"),
            strings("ConfigurationKeys").nullable(),
        ]),
        bool("IncludeSynonyms"),
        bool("IncludeDocumentation").since(3),
    ],
};

pub static ALTER_CONFIGS: Request = Request {
    key: ApiKey::AlterConfigs,
    versions: Versions::between(0, 2),
    flexible: Versions::since(2),
    fields: &[
        structs::<AlterConfigsResource>("Resources").of(&[
            int8("ResourceType"),
            string("ResourceName"),
            structs::<AlterableConfig>("Configs").of(&[string("Name"), string("Value").nullable()]),
        ]),
        bool("ValidateOnly"),
    ],
};

pub static INCREMENTAL_ALTER_CONFIGS: Request = Request {
    key: ApiKey::IncrementalAlterConfigs,
    versions: Versions::between(0, 1),
    flexible: Versions::since(1),
    fields: &[
        structs::<IncrementalResource>("Resources").of(&[
            int8("ResourceType"),
            string("ResourceName"),
            structs::<IncrementalConfig>("Configs").of(&[
                string("Name"),
                int8("ConfigOperation"),
                string("Value").nullable(),
            ]),
        ]),
        bool("ValidateOnly"),
    ],
};

pub static LIST_CONFIG_RESOURCES: Request = Request {
    key: ApiKey::ListConfigResources,
    versions: Versions::between(0, 1),
    flexible: Versions::since(0),
    fields: &[int8s("ResourceTypes").since(1)],
};

pub static UPDATE_FEATURES: Request = Request {
    key: ApiKey::UpdateFeatures,
    versions: Versions::between(0, 2),
    flexible: Versions::since(0),
    fields: &[
        int32("timeoutMs"),
        structs::<FeatureUpdateKey>("FeatureUpdates").of(&[
            string("Feature"),
            int16("MaxVersionLevel"),
            bool("AllowDowngrade").until(0),
            int8("UpgradeType").since(1),
        ]),
        bool("ValidateOnly").since(1),
    ],
};
