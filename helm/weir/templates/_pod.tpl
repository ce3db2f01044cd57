{{/* What pods of every kind have in common. */}}

{{/* (root, v: the values of this kind of pod, component, pool?): the parts of a pod's spec beside its containers. */}}
{{- define "weir.podSettings" -}}
serviceAccountName: {{ include "weir.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
  {{- with .root.Values.podSecurityContext }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .v.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .v.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .v.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .v.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .v.topologySpread }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "weir.selectorLabels" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* (readOnly) */}}
{{- define "weir.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ .readOnly }}
capabilities: {drop: [ALL]}
{{- end }}

{{/* (v, paths: startup, liveness, readiness; port): three probes that ask three different things. */}}
{{- define "weir.probes" -}}
{{- $ := . -}}
{{- range $kind := list "startup" "liveness" "readiness" }}
{{ $kind }}Probe:
  httpGet: {path: {{ get $.paths $kind }}, port: {{ $.port }}}
  {{- toYaml (get $.v.probes $kind) | nindent 2 }}
{{- end }}
{{- end }}

{{/* (v): resources, with the GPU or MIG slice as the cluster calls it. */}}
{{- define "weir.resources" -}}
{{- $resources := deepCopy .v.resources -}}
{{- if and .v.gpu (gt (int .v.gpu.count) 0) -}}
{{- $limits := get $resources "limits" | default dict -}}
{{- $_ := set $limits .v.gpu.resourceName (int .v.gpu.count) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{/* (root, names): the pod's annotations that make it restart when a ConfigMap changes. */}}
{{- define "weir.podAnnotations" -}}
{{- with merge (dict) (.v.podAnnotations | default dict) .root.Values.commonAnnotations }}
{{ toYaml . }}
{{- end }}
checksum/config: {{ .config | sha256sum }}
{{- end }}
