{{- define "weir.training.job" -}}
{{- $v := .Values.training -}}
{{- $who := dict "root" . "v" $v "component" "training" -}}
backoffLimit: {{ $v.backoffLimit }}
activeDeadlineSeconds: {{ $v.activeDeadlineSeconds }}
ttlSecondsAfterFinished: {{ $v.ttlSecondsAfterFinished }}
template:
  metadata:
    labels:
      {{- include "weir.podLabels" (merge (dict "names" list) $who) | nindent 6 }}
    {{- with merge (dict) $v.podAnnotations .Values.commonAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    {{- include "weir.podSettings" (merge (dict "v" (merge (dict "topologySpread" false) $v)) $who) | nindent 4 }}
    restartPolicy: OnFailure # the same command goes on where it stopped
    terminationGracePeriodSeconds: 60
    containers:
      - name: training
        image: {{ include "weir.image" (dict "root" . "image" $v.image) }}
        imagePullPolicy: {{ $v.image.pullPolicy }}
        command: [python, -m, weir_training.pipeline]
        args:
          - {{ ternary (printf "/etc/weir/recipe/%s" $v.recipe.key) $v.recipe.name (ne $v.recipe.existingConfigMap "") }}
          - --home=/var/lib/weir
          {{- with $v.data.path }}
          - --data={{ . }}
          {{- end }}
          {{- with $v.args }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        env:
          - {name: HOME, value: /tmp}
          - {name: HF_HUB_OFFLINE, value: "1"}
          {{- with $v.extraEnv }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        securityContext:
          {{- include "weir.containerSecurity" (dict "readOnly" $v.readOnlyRootFilesystem) | nindent 10 }}
        resources:
          {{- include "weir.resources" (dict "v" $v) | nindent 10 }}
        volumeMounts:
          - {name: home, mountPath: /var/lib/weir}
          - {name: tmp, mountPath: /tmp}
          {{- if $v.recipe.existingConfigMap }}
          - {name: recipe, mountPath: /etc/weir/recipe, readOnly: true}
          {{- end }}
          {{- if or $v.data.existingConfigMap $v.data.existingClaim }}
          - {name: data, mountPath: /data, readOnly: true}
          {{- end }}
    volumes:
      - name: home
        persistentVolumeClaim: {claimName: {{ $v.home.existingClaim | default (printf "%s-training" (include "weir.fullname" .)) }}}
      - name: tmp
        emptyDir: {}
      {{- with $v.recipe.existingConfigMap }}
      - name: recipe
        configMap: {name: {{ . }}}
      {{- end }}
      {{- with $v.data.existingConfigMap }}
      - name: data
        configMap: {name: {{ . }}}
      {{- end }}
      {{- with $v.data.existingClaim }}
      - name: data
        persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
      {{- end }}
{{- end }}
