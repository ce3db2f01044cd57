{{- define "weir.cpu.container" -}}
{{- $root := .root -}}
command: [weir, node]
args:
  {{- range .pool.models }}
  - {{ include "weir.model.path" (dict "name" . "model" (get $root.Values.models .)) }}
  {{- end }}
  - --config=/etc/weir/node/node.yaml
ports:
  - {name: http, containerPort: 8100}
{{ include "weir.probes" (dict "v" .pool "port" "http" "paths" (dict "startup" (printf "/v2/models/%s/ready" (first .pool.models)) "liveness" "/v2/health/live" "readiness" "/v2/health/ready")) | trim }}
{{- end }}
