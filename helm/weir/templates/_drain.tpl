{{/*
Time to leave, from one number: the longest answer, `drain.maxGenerationSeconds`.
A gateway gets SIGTERM at once and goes on accepting for `endpointSeconds` while /readyz says 503; a node sleeps in
preStop so long, then finishes what runs. Both have `slackSeconds` beyond that before SIGKILL.
*/}}

{{- define "weir.grace" -}}
{{- add .Values.drain.endpointSeconds .Values.drain.maxGenerationSeconds .Values.drain.slackSeconds -}}
{{- end }}

{{/* (root, override, of): seconds before SIGKILL; an override of 0 is none. */}}
{{- define "weir.terminationGracePeriodSeconds" -}}
{{- $least := include "weir.grace" .root | int -}}
{{- if not .override -}}
{{- $least -}}
{{- else if lt (int .override) $least -}}
{{- fail (printf "%s.terminationGracePeriodSeconds: %d cuts answers off: drain needs %d (endpointSeconds + maxGenerationSeconds + slackSeconds)" .of (int .override) $least) -}}
{{- else -}}
{{- int .override -}}
{{- end -}}
{{- end }}
