{{/* (root, name): a pool's values over the defaults of its kind, its models named. */}}
{{- define "weir.pool" -}}
{{- $given := get .root.Values.pools .name -}}
{{- if not $given }}{{ fail (printf "%s: %s is no key of `pools`" .of .name) }}{{ end -}}
{{- $pool := mustMergeOverwrite (deepCopy (get .root.Values.poolDefaults $given.kind)) (deepCopy $given) -}}
{{- if not $pool.models -}}
{{- $_ := set $pool "models" (include "weir.models" (dict "root" .root "role" "generate") | fromYaml).names -}}
{{- end -}}
{{- range $model := $pool.models -}}
{{- $_ := include "weir.model" (dict "root" $.root "name" $model "of" (printf "pools.%s.models" $.name)) -}}
{{- end -}}
{{- toYaml $pool -}}
{{- end }}

{{/* (root, pool): whether it answers prompts; one that only classifies is no node of the gateway's. */}}
{{- define "weir.pool.generates" -}}
{{- range .pool.models -}}
{{- if ne (get $.root.Values.models .).role "classify" }}yes{{ end -}}
{{- end -}}
{{- end }}

{{- define "weir.pool.port" -}}
{{- if eq .kind "cpu-ort" }}8100{{ else }}8001{{ end -}}
{{- end }}

{{/* (root, name, pool): of any node of a pool. */}}
{{- define "weir.pool.url" -}}
{{- $scheme := eq .pool.kind "cpu-ort" | ternary "http" "grpc" -}}
{{- printf "%s://%s-pool-%s.%s.svc.%s:%s" $scheme (include "weir.fullname" .root) .name .root.Release.Namespace .root.Values.clusterDomain (include "weir.pool.port" .pool) -}}
{{- end }}

{{/* The settings file of `weir node`. */}}
{{- define "weir.pool.config" -}}
{{- $config := deepCopy .pool.settings -}}
{{- $_ := set $config "host" "0.0.0.0" -}}
{{- $_ := set $config "port" 8100 -}}
{{- $_ := set $config "home" "/var/lib/weir" -}}
{{- $_ := set $config "model_repository" "/models" -}}
{{- $_ := set $config "drain_timeout_s" .root.Values.drain.maxGenerationSeconds -}}
{{- toYaml $config -}}
{{- end }}
