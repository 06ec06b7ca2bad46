//! ACLs, quotas and SCRAM credentials.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;

use super::{Request, Versions, bool, bytes, float64, int8, int32, string, structs};

pub static DESCRIBE_ACLS: Request = Request {
    key: ApiKey::DescribeAcls,
    versions: Versions::between(1, 3),
    flexible: Versions::since(2),
    fields: &[
        int8("ResourceTypeFilter"),
        string("ResourceNameFilter").nullable(),
        int8("PatternTypeFilter"),
        string("PrincipalFilter").nullable(),
        string("HostFilter").nullable(),
        int8("Operation"),
        int8("PermissionType"),
    ],
};

pub static CREATE_ACLS: Request = Request {
    key: ApiKey::CreateAcls,
    versions: Versions::between(1, 3),
    flexible: Versions::since(2),
    fields: &[structs::<AclCreation>("Creations").of(&[
        int8("ResourceType"),
        string("ResourceName"),
        int8("ResourcePatternType"),
        string("Principal"),
        string("Host"),
        int8("Operation"),
        int8("PermissionType"),
    ])],
};

pub static DELETE_ACLS: Request = Request {
    key: ApiKey::DeleteAcls,
    versions: Versions::between(1, 3),
    flexible: Versions::since(2),
    fields: &[structs::<DeleteAclsFilter>("Filters").of(&[
        int8("ResourceTypeFilter"),
        string("ResourceNameFilter").nullable(),
        int8("PatternTypeFilter"),
        string("PrincipalFilter").nullable(),
        string("HostFilter").nullable(),
        int8("Operation"),
        int8("PermissionType"),
    ])],
};

pub static DESCRIBE_CLIENT_QUOTAS: Request = Request {
    key: ApiKey::DescribeClientQuotas,
    versions: Versions::between(0, 1),
    flexible: Versions::since(1),
    fields: &[
        structs::<ComponentData>("Components").of(&[
            string("EntityType"),
            int8("MatchType"),
            string("Match").nullable(),
        ]),
        bool("Strict"),
    ],
};

pub static ALTER_CLIENT_QUOTAS: Request = Request {
    key: ApiKey::AlterClientQuotas,
    versions: Versions::between(0, 1),
    flexible: Versions::since(1),
    fields: &[
        structs::<EntryData>("Entries").of(&[
            structs::<EntityData>("Entity").of(&[string("EntityType"), string("EntityName").nullable()]),
            structs::<OpData>("Ops").of(&[string("Key"), float64("Value"), bool("Remove")]),
        ]),
        bool("ValidateOnly"),
    ],
};

pub static DESCRIBE_USER_SCRAM_CREDENTIALS: Request = Request {
    key: ApiKey::DescribeUserScramCredentials,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[structs::<UserName>("Users").nullable().of(&[string("Name")])],
};

pub static ALTER_USER_SCRAM_CREDENTIALS: Request = Request {
    key: ApiKey::AlterUserScramCredentials,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[
        structs::<ScramCredentialDeletion>("Deletions").of(&[string("Name"), int8("Mechanism")]),
        structs::<ScramCredentialUpsertion>("Upsertions").of(&[
            string("Name"),
            int8("Mechanism"),
            int32("Iterations"),
            bytes("Salt"),
            bytes("SaltedPassword"),
        ]),
    ],
};
