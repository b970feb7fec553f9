//! What is taken back when nobody can hold it any more: see the text of [`super`].

use keyturn_secrets::{Stage, StagedStore};

use super::look::{Opened, Place, Seen, place};
use super::{Engine, later};
use crate::{Credential, Diagnostic, Issued, RotationError};

/// What became of a credential that the service has and no version with a stage holds.
#[derive(Debug)]
pub enum Retired {
    /// It is stopped, and goes at the next call.
    Disabled {
        /// The service's id of it.
        id: String,
    },
    /// It is gone.
    Deleted {
        /// The service's id of it.
        id: String,
    },
    /// It was used within the last overlap, by somebody who does not read the secret: it stays.
    StillUsed {
        /// The service's id of it.
        id: String,
    },
    /// It could not be taken back; it is tried again.
    Failed {
        /// The service's id of it; `None`: what there is could not be found out.
        id: Option<String>,
        /// Why.
        error: RotationError,
    },
}

impl Engine {
    /// Takes back what nobody can hold any more. It may be called at any time, and again.
    ///
    /// # Errors
    ///
    /// [`Diagnostic`]: the secret cannot be read, or its settings do not fit. What fails at a service is in the list.
    pub async fn retire(&self, store: &dyn StagedStore, name: &str) -> Result<Vec<Retired>, Diagnostic> {
        let place = place(store, name);
        let seen = self.look(place, None).await?;
        let mut all = Vec::new();
        for opened in &seen.targets {
            all.extend(self.retire_target(place, &seen, opened, false).await);
        }
        Ok(all)
    }

    /// The same for one target, of what was `seen`. `at_once`: what can be stopped is not only stopped but deleted,
    /// since its room is needed.
    pub(super) async fn retire_target(
        &self,
        place: Place<'_>,
        seen: &Seen,
        opened: &Opened,
        at_once: bool,
    ) -> Vec<Retired> {
        match self.candidates(place, seen, opened).await {
            Ok((mut done, candidates)) => {
                for issued in candidates {
                    let id = issued.id.clone();
                    done.push(match take_back(opened, &issued, at_once).await {
                        Ok(true) => Retired::Deleted { id },
                        Ok(false) => Retired::Disabled { id },
                        Err(error) => Retired::Failed { id: Some(id), error },
                    });
                }
                done
            }
            Err(error) => vec![Retired::Failed { id: None, error }],
        }
    }

    /// What may be taken back; and what stays though no version holds it.
    async fn candidates(
        &self,
        place: Place<'_>,
        seen: &Seen,
        opened: &Opened,
    ) -> Result<(Vec<Retired>, Vec<Issued>), RotationError> {
        let (now, overlap) = (self.tools.now(), self.overlap(opened));
        let since = self.since(place, &seen.description, &seen.current.0).await?;
        if later(since, overlap) > now {
            return Ok((Vec::new(), Vec::new()));
        }
        let current = opened.credential(&seen.current.1);
        let mut kept = vec![current.clone()];
        let mut previous = None;
        for (version, stages) in &seen.description.versions {
            if stages.is_empty() || *version == seen.current.0 {
                continue;
            }
            let document = match place.store.version(place.name, version).await {
                Ok(secret) => crate::Document::parse(&secret.value)?,
                // Registered, and without a value yet.
                Err(keyturn_secrets::SecretError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let credential = opened.credential(&document);
            if stages.as_slice() == [Stage::Previous] {
                previous = Some((version, credential));
            } else {
                kept.push(credential);
            }
        }
        let may_be = |issued: &Issued, credential: &Credential| {
            !credential.is(&Credential::default()) && opened.rotator.may_be(issued, credential)
        };
        let all = opened.rotator.issued(&opened.prefix, &current).await?;
        // Without it no key would be the current one: the settings no longer fit the value.
        if let (Some(part), false) = (opened.rotator.parts().first(), all.is_empty()) {
            current.part(part.name)?;
        }
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        for issued in all {
            let fresh =
                issued.created_at.is_some_and(|created| later(created, self.options.longest_call) > now);
            if fresh || kept.iter().any(|credential| may_be(&issued, credential)) {
                continue;
            }
            if issued.last_used_at.is_some_and(|used| later(used, overlap) > now) {
                stay.push(Retired::StillUsed { id: issued.id });
            } else {
                go.push(issued);
            }
        }
        // No stage names what is gone.
        if let Some((version, credential)) = &previous
            && go.iter().any(|issued| may_be(issued, credential))
        {
            place.store.unstage(place.name, version, &Stage::Previous).await?;
        }
        Ok((stay, go))
    }
}

/// Takes one credential back; `false` when it is only stopped.
async fn take_back(opened: &Opened, issued: &Issued, at_once: bool) -> Result<bool, RotationError> {
    if !issued.disabled && opened.rotator.disable(issued).await? && !at_once {
        return Ok(false);
    }
    opened.rotator.delete(issued).await?;
    Ok(true)
}
