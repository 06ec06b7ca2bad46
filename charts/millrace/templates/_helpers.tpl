{{- define "millrace.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}-operator
{{- end }}

{{- define "millrace.clusterScopedName" -}}
{{ .Release.Namespace }}-{{ include "millrace.name" . }}
{{- end }}

{{- define "millrace.selector" -}}
app.kubernetes.io/name: millrace-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "millrace.labels" -}}
{{ include "millrace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "millrace.rules" -}}
- apiGroups: [millrace.dev]
  resources: [kafkaclusters]
  verbs: [get, list, watch]
- apiGroups: [millrace.dev]
  resources: [kafkaclusters/status]
  verbs: [patch]
# Asked for by clusters that check who may hold up the deletion of an owner.
- apiGroups: [millrace.dev]
  resources: [kafkaclusters/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, create, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, create, patch]
# Never list or watch: the operator reads its own clusters' Secrets by name and sees no others.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
