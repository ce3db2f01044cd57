{{/* (root, suffix, args): a pod that asks the gateway, by the gateway's own image. */}}
{{- define "weir.test.pod" -}}
{{- $who := dict "root" .root "suffix" (printf "test-%s" .suffix) "component" "test" "annotations" (dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded") -}}
apiVersion: v1
kind: Pod
metadata:
  {{- include "weir.metadata" $who | nindent 2 }}
spec:
  {{- include "weir.podSettings" (merge (dict "v" dict) $who) | nindent 2 }}
  restartPolicy: Never
  containers:
    - name: test
      image: {{ include "weir.image" (dict "root" .root "image" .root.Values.gateway.image) }}
      imagePullPolicy: {{ .root.Values.gateway.image.pullPolicy }}
      command:
        {{- toYaml .command | nindent 8 }}
      args:
        {{- toYaml .args | nindent 8 }}
      {{- with .root.Values.tests.key }}
      {{- if .name }}
      env:
        - name: WEIR_KEY
          valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .key }}}}
      {{- end }}
      {{- end }}
      securityContext:
        {{- include "weir.containerSecurity" (dict "readOnly" true) | nindent 8 }}
      resources:
        requests: {cpu: 100m, memory: 128Mi}
        limits: {memory: 256Mi}
{{- end }}

{{- define "weir.gateway.url" -}}
http://{{ include "weir.fullname" . }}-gateway.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:{{ .Values.gateway.service.port }}
{{- end }}
