{{/* Labels of every object. */}}
{{- define "modelhopper.labels" -}}
app.kubernetes.io/name: modelhopper
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What has no sensible default and no way to be checked by the schema alone: each refusal says what to give. */}}
{{- define "modelhopper.check" -}}
{{- if not .Values.store }}
{{- fail "\n\nNo store is given. It is where experiments are kept, as pods reach it:\n\n  --set store=s3://bucket/prefix\n\nwith --set endpoint=http://host:port, too, where it is not on AWS." }}
{{- end }}
{{- if and .Values.existingSecret .Values.podIdentity }}
{{- fail (printf "\n\nexistingSecret is %s and podIdentity is true: pods sign in to the store by one of the two. Leave out the other." .Values.existingSecret) }}
{{- end }}
{{- if not (or .Values.existingSecret .Values.podIdentity) }}
{{- fail (printf "\n\nNothing says how pods sign in to the store %s. Make a Secret with the keys accessKey and secretKey, and name it:\n\n  kubectl create secret generic modelhopper-store -n %s --from-literal=accessKey=KEY --from-literal=secretKey=SECRET\n  --set existingSecret=modelhopper-store\n\nor, where the service account has a role on AWS or the like: --set podIdentity=true" .Values.store .Release.Namespace) }}
{{- end }}
{{- if not (.Capabilities.APIVersions.Has "argoproj.io/v1alpha1/WorkflowTemplate") }}
{{- fail "\n\nThe cluster has no WorkflowTemplates: Argo Workflows is not installed, see https://argo-workflows.readthedocs.io/en/latest/installation/\n\n`helm template` asks no cluster; tell it what yours has: --api-versions argoproj.io/v1alpha1/WorkflowTemplate" }}
{{- end }}
{{- end }}

{{- define "modelhopper.trainer" -}}
{{ .Values.images.trainer | default (printf "modelhopper/trainer:%s-%s" .Chart.AppVersion (ternary "gpu" "cpu" (ne .Values.resources.gpu ""))) }}
{{- end }}

{{- define "modelhopper.scheduler" -}}
{{ .Values.images.scheduler | default (printf "modelhopper/scheduler:%s" .Chart.AppVersion) }}
{{- end }}

{{/* The environment by which a pod finds the store. */}}
{{- define "modelhopper.storeEnvironment" -}}
- {name: MODELHOPPER_STORE, value: {{ .Values.store | quote }}}
{{- with .Values.endpoint }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with .Values.region }}
- {name: AWS_REGION, value: {{ . | quote }}}
{{- end }}
{{- if .Values.caConfigMap }}
- {name: AWS_CA_BUNDLE, value: /etc/modelhopper/ca.crt}
{{- end }}
{{- with .Values.existingSecret }}
- {name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: {{ . }}, key: accessKey}}}
- {name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: {{ . }}, key: secretKey}}}
{{- end }}
{{- end }}

{{/* The ports that pods reach the store at, as a JSON list: those given, or the endpoint's. */}}
{{- define "modelhopper.storePorts" -}}
{{- if .Values.networkPolicy.store.ports -}}
{{ toJson .Values.networkPolicy.store.ports }}
{{- else -}}
{{- $url := urlParse (.Values.endpoint | default "https://s3.amazonaws.com") -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) -}}
[{{ $port | default (ternary "443" "80" (eq $url.scheme "https")) }}]
{{- end }}
{{- end }}

{{/* One egress rule from {ports, to}. */}}
{{- define "modelhopper.reach" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* What Pod Security's profile `restricted` asks of a pod, and of its containers. */}}
{{- define "modelhopper.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "modelhopper.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end }}
