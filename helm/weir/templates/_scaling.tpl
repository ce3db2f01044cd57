{{/*
HPA or KEDA, never both, and then no `replicas` anywhere (an upgrade would scale down).
(root, v: autoscaling values, who: what metadata takes, target: {apiVersion, kind, name}, query, grace, of)
Scaling down waits as long as a drain: a pod that leaves would else be counted as missing and be replaced.
*/}}
{{- define "weir.scaling" -}}
{{- $down := max 300 (int .grace) | min 3600 -}}
{{- if lt (int .v.maxReplicas) (int .v.minReplicas) }}{{ fail (printf "%s.autoscaling: maxReplicas is below minReplicas" .of) }}{{ end -}}
{{- if eq .v.mode "hpa" }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "weir.metadata" .who | nindent 2 }}
spec:
  scaleTargetRef:
    {{- toYaml .target | nindent 4 }}
  minReplicas: {{ .v.minReplicas }}
  maxReplicas: {{ .v.maxReplicas }}
  behavior:
    {{- include "weir.scaling.behavior" $down | nindent 4 }}
  metrics:
    # As an adapter (prometheus-adapter, KEDA's) must offer it: docs/guides/kubernetes.md.
    - type: External
      external:
        metric:
          name: weir_gateway_requests_in_flight
          selector:
            matchLabels: {namespace: {{ .root.Release.Namespace }}, service: {{ include "weir.fullname" .root }}-gateway-admin}
        target: {type: AverageValue, averageValue: {{ .v.targetInFlight | quote }}}
{{- else if eq .v.mode "keda" }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "weir.metadata" .who | nindent 2 }}
spec:
  scaleTargetRef:
    {{- toYaml .target | nindent 4 }}
  pollingInterval: 10
  minReplicaCount: {{ .v.minReplicas }}
  maxReplicaCount: {{ .v.maxReplicas }}
  # Prometheus away, or the series gone: neither asleep nor at the maximum.
  fallback: {failureThreshold: 3, replicas: {{ .v.fallbackReplicas }}}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "weir.scaling.behavior" $down | nindent 8 }}
  triggers:
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ .root.Values.monitoring.prometheusUrl }}
        query: {{ .query | quote }}
        threshold: {{ .v.targetInFlight | quote }}
        ignoreNullValues: "false"
{{- end }}
{{- end }}

{{- define "weir.scaling.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Pods, value: 4, periodSeconds: 15}
    - {type: Percent, value: 100, periodSeconds: 15}
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: {{ . }}
  policies: [{type: Pods, value: 1, periodSeconds: 60}]
{{- end }}

{{/*
(root, pool?): what waits and what runs, as the gateways see it: a queue at the nodes reads 0 while they keep up. Of one
among several pools: what its nodes were given, and what waits for any.
*/}}
{{- define "weir.scaling.query" -}}
{{- $gateways := include "weir.gateway.selector" .root -}}
{{- if and .pool (gt (len .root.Values.pools) 1) -}}
sum(weir_gateway_node_in_flight{ {{- $gateways -}} ,node=~"{{ .pool }}-[0-9a-f]+(-[0-9a-f]*)+"}) + sum(weir_gateway_queue_depth{ {{- $gateways -}} })
{{- else -}}
sum(weir_gateway_requests_in_flight{ {{- $gateways -}} })
{{- end -}}
{{- end }}
