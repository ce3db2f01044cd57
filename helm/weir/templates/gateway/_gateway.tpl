{{/* The settings file of `weir serve`. Secrets come as variables beside it. */}}
{{- define "weir.gateway.config" -}}
{{- $v := .Values.gateway -}}
{{- $config := deepCopy $v.settings -}}
{{- $_ := set $config "host" "0.0.0.0" -}}
{{- $_ := set $config "port" 8080 -}}
{{- $_ := set $config "home" "/var/lib/weir" -}}
{{- $_ := set $config "drain_delay_s" .Values.drain.endpointSeconds -}}
{{- $_ := set $config "drain_timeout_s" .Values.drain.maxGenerationSeconds -}}
{{- $_ := set $config "edge" (merge (dict "workers" $v.workers "admin_host" "0.0.0.0" "admin_port" 8081) ($config.edge | default dict)) -}}
{{- $access := merge (dict "allow_anonymous" $v.access.allowAnonymous) ($config.access | default dict) -}}
{{- if $v.access.auditKey.name }}{{ $_ := set $access "audit_key_file" (printf "/etc/weir/audit/%s" $v.access.auditKey.key) }}{{ end -}}
{{- $_ := set $config "access" $access -}}
{{- if or $v.guard.policy $v.guard.existingConfigMap }}{{ $_ := set $config "guard" "/etc/weir/guard/policy.yaml" }}{{ end -}}
{{- if $v.secondTier.pool -}}
{{- $pool := include "weir.pool" (dict "root" . "name" $v.secondTier.pool "of" "gateway.secondTier.pool") | fromYaml -}}
{{- $url := include "weir.pool.url" (dict "root" . "name" $v.secondTier.pool "pool" $pool) -}}
{{- $_ := set $config "second_tier" (merge (dict "url" $url "model" $v.secondTier.model) ($config.second_tier | default dict)) -}}
{{- end -}}
{{- $releases := list -}}
{{- range $name := (include "weir.models" (dict "root" . "role" "generate") | fromYaml).names -}}
{{- $releases = append $releases (include "weir.model.path" (dict "name" $name "model" (get $.Values.models $name))) -}}
{{- end -}}
{{- $_ := set $config "releases" $releases -}}
{{- $nodes := list -}}
{{- range $name, $given := .Values.pools -}}
{{- $pool := include "weir.pool" (dict "root" $ "name" $name) | fromYaml -}}
{{- if include "weir.pool.generates" (dict "root" $ "pool" $pool) -}}
{{- $nodes = append $nodes (dict "name" $name "pool" $name "url" (printf "dns+%s" (include "weir.pool.url" (dict "root" $ "name" $name "pool" $pool)))) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "nodes" $nodes -}}
{{- /* Seen by DNS, well before a node that leaves refuses. */}}
{{- $_ := set $config "resolve_interval_s" (max 1 (div .Values.drain.endpointSeconds 5)) -}}
{{- toYaml $config -}}
{{- end }}

{{- define "weir.gateway.env" -}}
{{- range $variable, $ref := dict "WEIR_GATEWAY_ACCESS__DATABASE" .Values.gateway.access.database "WEIR_GATEWAY_ACCESS__REDIS" .Values.gateway.access.redis "WEIR_GATEWAY_ACCESS__ADMIN_TOKEN" .Values.gateway.access.adminToken }}
{{- if $ref.name }}
- name: {{ $variable }}
  valueFrom: {secretKeyRef: {name: {{ $ref.name }}, key: {{ $ref.key }}}}
{{- end }}
{{- end }}
{{- with .Values.gateway.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The pod of a Deployment or a Rollout. */}}
{{- define "weir.gateway.pod" -}}
{{- $v := .Values.gateway -}}
{{- $names := (include "weir.models" (dict "root" . "role" "generate") | fromYaml).names -}}
{{- $who := dict "root" . "v" $v "component" "gateway" -}}
metadata:
  labels:
    {{- include "weir.podLabels" (merge (dict "names" $names) $who) | nindent 4 }}
  annotations:
    {{- include "weir.podAnnotations" (merge (dict "config" (include "weir.gateway.config" .)) $who) | trim | nindent 4 }}
spec:
  {{- include "weir.podSettings" $who | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "weir.terminationGracePeriodSeconds" (dict "root" . "override" $v.terminationGracePeriodSeconds "of" "gateway") }}
  {{- with include "weir.model.fetching" (dict "root" . "names" $names) | trim }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: gateway
      image: {{ include "weir.image" (dict "root" . "image" $v.image) }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      command: [weir, serve]
      args: [--config=/etc/weir/gateway/gateway.yaml]
      {{- with include "weir.gateway.env" . | trim }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 8080}
        - {name: admin, containerPort: 8081}
      {{- include "weir.probes" (dict "v" $v "port" "http" "paths" (dict "startup" "/startupz" "liveness" "/livez" "readiness" "/readyz")) | trim | nindent 6 }}
      securityContext:
        {{- include "weir.containerSecurity" (dict "readOnly" $v.readOnlyRootFilesystem) | nindent 8 }}
      resources:
        {{- include "weir.resources" (dict "v" $v) | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/weir/gateway, readOnly: true}
        {{- if or $v.guard.policy $v.guard.existingConfigMap }}
        - {name: guard, mountPath: /etc/weir/guard, readOnly: true}
        {{- end }}
        {{- if $v.access.auditKey.name }}
        - {name: audit-key, mountPath: /etc/weir/audit, readOnly: true}
        {{- end }}
        - {name: home, mountPath: /var/lib/weir}
        - {name: tmp, mountPath: /tmp}
        {{- include "weir.model.mounts" (dict "root" . "names" $names) | trim | nindent 8 }}
  volumes:
    - name: config
      configMap: {name: {{ include "weir.fullname" . }}-gateway}
    {{- if or $v.guard.policy $v.guard.existingConfigMap }}
    - name: guard
      configMap: {name: {{ $v.guard.existingConfigMap | default (printf "%s-guard" (include "weir.fullname" .)) }}}
    {{- end }}
    {{- with $v.access.auditKey }}
    {{- if .name }}
    - name: audit-key
      secret: {secretName: {{ .name }}, defaultMode: 288, items: [{key: {{ .key }}, path: {{ .key }}}]}
    {{- end }}
    {{- end }}
    - name: home
      {{- if $v.persistence.enabled }}
      persistentVolumeClaim: {claimName: {{ $v.persistence.existingClaim | default (printf "%s-gateway-home" (include "weir.fullname" .)) }}}
      {{- else }}
      emptyDir: {sizeLimit: 2Gi}
      {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
    {{- include "weir.model.volumes" (dict "root" . "names" $names) | trim | nindent 4 }}
{{- end }}

{{/* PromQL: this installation's gateways. */}}
{{- define "weir.gateway.selector" -}}
namespace="{{ .Release.Namespace }}",service="{{ include "weir.fullname" . }}-gateway-admin"
{{- end }}
