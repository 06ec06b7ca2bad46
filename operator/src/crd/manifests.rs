//! The generated files: `crds/*.yaml` for `kubectl apply`, and the same definitions inside the chart.

use kube::CustomResourceExt as _;

use super::KafkaCluster;

/// One generated definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrdFile {
    pub name: &'static str,
    pub yaml: String,
}

/// Every custom resource definition, as it is committed.
pub fn crd_files() -> Result<Vec<CrdFile>, serde_yaml::Error> {
    let yaml = serde_yaml::to_string(&KafkaCluster::crd())?;
    let header = "# Written by `millrace-operator crd`.\n";
    Ok(vec![CrdFile { name: "millrace.dev_kafkaclusters.yaml", yaml: format!("{header}{yaml}") }])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    #[test]
    fn committed_definitions_are_fresh() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for directory in ["crds", "charts/millrace/files/crds"] {
            for file in crd_files().unwrap() {
                let committed = fs::read_to_string(root.join(directory).join(file.name)).unwrap_or_default();
                let command = "cargo run -p operator -- crd --output crds --output charts/millrace/files/crds";
                assert!(committed == file.yaml, "{directory}/{} is stale; run: {command}", file.name);
            }
        }
    }

    #[test]
    fn every_field_is_explained() {
        fn explained(schema: &Value, path: &str) {
            let fields = schema["properties"].as_object().or_else(|| schema["items"]["properties"].as_object());
            for (name, field) in fields.into_iter().flatten() {
                let (path, text) = (format!("{path}.{name}"), field["description"].as_str().unwrap_or_default());
                assert!(text.ends_with('.'), "{path}: {text:?}");
                explained(field, &path);
            }
        }
        let crd = serde_json::to_value(KafkaCluster::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        explained(&schema["spec"], "spec");
        let mut status = schema["status"].clone();
        status["properties"].as_object_mut().unwrap().remove("conditions");
        explained(&status, "status");
    }

    /// A rule that does not compile would be found by the first API server that gets the definition.
    #[test]
    fn every_rule_compiles() {
        let crd = serde_json::to_value(KafkaCluster::crd()).unwrap();
        let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
        let compiled = kube::core::cel::compile_schema(schema);
        assert!(!compiled.has_errors(), "{:?}", compiled.compilation_errors());
    }
}
