{{/* Names and labels. Selectors hold name, instance, component and pool: nothing that an upgrade changes. */}}

{{- define "weir.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" -}}
{{- end }}

{{/* 30 characters at most: pools add `-pool-` and 20 more, and a Service's name ends at 63. */}}
{{- define "weir.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 30 | trimSuffix "-" -}}
{{- else if contains (include "weir.name" .) .Release.Name -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "weir.name" .) | trunc 30 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "weir.instanceLabels" -}}
app.kubernetes.io/name: {{ include "weir.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* (root, component, pool?) */}}
{{- define "weir.selectorLabels" -}}
{{ include "weir.instanceLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
weir/pool: {{ . }}
{{- end }}
{{- end }}

{{/* (root, component, pool?) */}}
{{- define "weir.labels" -}}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: weir
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* (root, suffix, component, pool?, labels?, annotations?): what every object's metadata holds. */}}
{{- define "weir.metadata" -}}
name: {{ include "weir.fullname" .root }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "weir.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (root, component, pool?, v, names): nothing that only a new chart's version changes, which would restart every pod. */}}
{{- define "weir.podLabels" -}}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/part-of: weir
{{- if include "weir.model.fetches" (dict "root" .root "names" .names) }}
weir/downloads: "true"
{{- end }}
{{- with merge (dict) (.v.podLabels | default dict) .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "weir.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "weir.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* (root, image): by digest when there is one. */}}
{{- define "weir.image" -}}
{{- $registry := .image.registry | default .root.Values.global.imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}
