{{/*
Where releases come from. Whatever the source, a release lies at /models/NAME/VERSION, read-only: so a node's arguments,
the gateway's settings and Triton's repository are the same for all of them.
*/}}

{{- define "weir.model.path" -}}
/models/{{ .name }}/{{ int .model.version }}
{{- end }}

{{/* A model's name as part of a volume's or container's. */}}
{{- define "weir.model.slug" -}}
{{- . | replace "." "-" | replace "_" "-" | trimSuffix "-" -}}
{{- end }}

{{/* The names of the models with a role (generate, classify), the default model first. */}}
{{- define "weir.models" -}}
{{- $names := list -}}
{{- $first := .root.Values.gateway.defaultModel -}}
{{- $role := .role -}}
{{- range $name, $model := .root.Values.models -}}
{{- if eq (default "generate" $model.role) $role -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- if and $first (eq $role "generate") -}}
{{- if not (has $first $names) }}{{ fail (printf "gateway.defaultModel: %s is none of the models that generate" $first) }}{{ end -}}
{{- $names = prepend (without $names $first) $first -}}
{{- end -}}
{{- toYaml (dict "names" $names) -}}
{{- end }}

{{/* (root, name) */}}
{{- define "weir.model" -}}
{{- $model := get .root.Values.models .name -}}
{{- if not $model }}{{ fail (printf "%s: %s is no key of `models` (there: %s)" .of .name (keys .root.Values.models | sortAlpha | join ", ")) }}{{ end -}}
{{- toYaml $model -}}
{{- end }}

{{/* (root, names): volumes that hold the releases. */}}
{{- define "weir.model.volumes" -}}
{{- $root := .root -}}
{{- range $name := .names }}
{{- $model := get $root.Values.models $name }}
- name: release-{{ include "weir.model.slug" $name }}
  {{- if $model.source.pvc }}
  persistentVolumeClaim: {claimName: {{ $model.source.pvc.claimName }}, readOnly: true}
  {{- else if $model.source.image }}
  {{- if semverCompare "<1.31.0-0" $root.Capabilities.KubeVersion.Version }}
  {{- fail (printf "models.%s.source.image: image volumes need Kubernetes 1.31 (on by default from 1.35), this is %s; use pvc or fetch" $name $root.Capabilities.KubeVersion.Version) }}
  {{- end }}
  image:
    reference: {{ $model.source.image.reference }}
    pullPolicy: {{ $model.source.image.pullPolicy | default "IfNotPresent" }}
  {{- else }}
  emptyDir: {sizeLimit: {{ $model.source.fetch.size | default "20Gi" }}}
  {{- end }}
{{- end }}
{{- end }}

{{/* (root, names) */}}
{{- define "weir.model.mounts" -}}
{{- $root := .root -}}
{{- range $name := .names }}
{{- $model := get $root.Values.models $name }}
- name: release-{{ include "weir.model.slug" $name }}
  mountPath: {{ include "weir.model.path" (dict "name" $name "model" $model) }}
  readOnly: true
  {{- if $model.source.pvc }}
  subPath: {{ $model.source.pvc.subPath | default (printf "releases/%s/%d" $name (int $model.version)) }}
  {{- else if $model.source.fetch }}
  subPath: {{ int $model.version | quote }}
  {{- else if $model.source.image.subPath }}
  subPath: {{ $model.source.image.subPath }}
  {{- end }}
{{- end }}
{{- end }}

{{/* (root, names): containers that bring what is fetched, by the gateway's image, before anything starts. */}}
{{- define "weir.model.fetching" -}}
{{- $root := .root -}}
{{- range $name := .names }}
{{- $model := get $root.Values.models $name }}
{{- with $model.source.fetch }}
- name: fetch-{{ include "weir.model.slug" $name }}
  image: {{ include "weir.image" (dict "root" $root "image" $root.Values.gateway.image) }}
  imagePullPolicy: {{ $root.Values.gateway.image.pullPolicy }}
  command: [weir, releases, fetch]
  args:
    - {{ .url | quote }}
    - --sha256={{ .sha256 }}
    - --release={{ $name }}/{{ int $model.version }}
    - --into=/fetch/{{ $name }}/{{ int $model.version }}
  {{- with .headersSecret }}
  env:
    - name: WEIR_FETCH_AUTHORIZATION
      valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .key }}}}
  {{- end }}
  securityContext:
    {{- include "weir.containerSecurity" (dict "readOnly" true) | nindent 4 }}
  resources:
    requests: {cpu: 250m, memory: 256Mi}
    limits: {memory: 512Mi}
  volumeMounts:
    - {name: release-{{ include "weir.model.slug" $name }}, mountPath: /fetch/{{ $name }}}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- end }}
{{- end }}

{{/* (root, names): whether one of them is fetched: such pods may go out. */}}
{{- define "weir.model.fetches" -}}
{{- $root := .root -}}
{{- range $name := .names -}}
{{- if (get $root.Values.models $name).source.fetch }}yes{{ end -}}
{{- end -}}
{{- end }}
