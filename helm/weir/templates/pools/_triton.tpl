{{/* A model's entry in Triton's repository; the inputs and outputs are those that `weir publish` writes. */}}
{{- define "weir.triton.config" -}}
name: "{{ .name }}"
backend: "weir"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [
  { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "sampling_parameters" data_type: TYPE_STRING dims: [ 1 ] optional: true },
  { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
  { name: "exclude_input_in_output" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
  { name: "return_finish_reason" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
  { name: "return_num_input_tokens" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
  { name: "return_num_output_tokens" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
]
output [
  { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "finish_reason" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "num_input_tokens" data_type: TYPE_UINT32 dims: [ -1 ] },
  { name: "num_output_tokens" data_type: TYPE_UINT32 dims: [ -1 ] },
  { name: "tokens" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "prompt_tokens" data_type: TYPE_STRING dims: [ -1 ] }
]
instance_group [ { count: 1 kind: KIND_CPU } ]
{{- range $key, $value := .pool.settings }}
parameters { key: "{{ $key }}" value { string_value: "{{ $value }}" } }
{{- end }}
{{- end }}

{{- define "weir.triton.container" -}}
{{- $root := .root -}}
command: [tritonserver]
args:
  - --model-repository=/models
  - --backend-directory=/opt/tritonserver/backends
  - --model-control-mode=explicit
  {{- range .pool.models }}
  - --load-model={{ . }}
  {{- end }}
  - --exit-on-error=true
  - --strict-readiness=true
  - --exit-timeout-secs={{ int $root.Values.drain.maxGenerationSeconds }}
ports:
  - {name: http, containerPort: 8000}
  - {name: grpc, containerPort: 8001}
  - {name: metrics, containerPort: 8002}
{{ include "weir.probes" (dict "v" .pool "port" "http" "paths" (dict "startup" "/v2/health/ready" "liveness" "/v2/health/live" "readiness" (printf "/v2/models/%s/ready" (first .pool.models)))) | trim }}
{{- end }}

{{/* Where Triton looks for each model's entry, beside its version's folder. */}}
{{- define "weir.triton.mounts" -}}
{{- range .pool.models }}
- {name: config, mountPath: /models/{{ . }}/config.pbtxt, subPath: {{ . }}.pbtxt, readOnly: true}
{{- end }}
{{- end }}
